"""Comparisons against closed forms and brute force, and by how often their intervals cover what they are for."""

import itertools

import numpy as np
import pytest
from scipy import stats

from metarl_jax.experiment import reliability
from metarl_jax.experiment.reliability import difference, difference_interval, improvement, interval, iqm_score, profile
from metarl_jax.experiment.statistics import confidence_interval, iqm


def scores(seeds: int, count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(seeds, count))


def test_the_probability_of_improvement_is_that_over_all_pairs_of_runs_in_the_same_task() -> None:
    ours, theirs = np.round(scores(3, 7), 0), np.round(scores(2, 7, 1), 0)
    pairs = [
        1.0 if x > y else 0.5 if x == y else 0.0
        for task in range(7)
        for x, y in itertools.product(ours[:, task], theirs[:, task])
    ]
    assert improvement(ours, theirs) == pytest.approx(np.mean(pairs))
    assert improvement(ours, theirs) + improvement(theirs, ours) == pytest.approx(1.0)
    u = stats.mannwhitneyu(ours[:, 0], theirs[:, 0]).statistic
    assert improvement(ours[:, :1], theirs[:, :1]) == pytest.approx(u / 6)


def test_the_profile_is_the_share_above_each_threshold() -> None:
    found = profile(np.array([[0.0, 1.0], [2.0, 3.0]]), np.array([-1.0, 0.0, 1.5, 3.0]))
    np.testing.assert_allclose(found, [1.0, 0.75, 0.5, 0.0])
    values = scores(2, 4001)
    area = np.trapezoid(profile(values, np.linspace(-5, 5, 2001)), dx=0.005) - 5  # the mean (§4.2)
    assert area == pytest.approx(values.mean(), abs=1e-2)


def test_the_interquartile_mean_is_over_all_seeds_and_tasks() -> None:
    values = scores(3, 8)
    assert iqm_score(values) == pytest.approx(iqm(values.ravel()))
    np.testing.assert_allclose(iqm_score(np.stack([values, 2 * values])), np.array([1, 2]) * iqm(values.ravel()))


def test_the_interval_of_few_tasks_is_that_over_all_possible_resamples() -> None:
    """All 27 resamples of three tasks, for two runs of opposite noise."""
    values = np.array([[0.0, 1.0, 5.0]])
    means = [np.mean(drawn) for drawn in itertools.product(values[0], repeat=3)]
    found = interval(reliability.mean_score, values, level=0.5, resamples=20_000)
    tail = stats.norm.cdf(-stats.t.ppf(0.75, 2))
    np.testing.assert_allclose(found, np.quantile(means, [tail, 1 - tail], method="inverted_cdf"), atol=1e-9)


def test_differences_are_paired_by_task() -> None:
    """What both methods find hard is no uncertainty of their difference."""
    tasks, own = 10 * scores(1, 60), 0.1 * scores(3, 60, 1)
    low, high = difference_interval(tasks + own + 1, tasks + own[::-1])
    assert 0.8 < low < 1 < high < 1.2
    shuffled = np.ptp(interval(difference, tasks + own, tasks[:, ::-1] + own))
    assert shuffled > 10 * (high - low)
    assert difference_interval(tasks + 1, tasks) == pytest.approx((1.0, 1.0))
    one = scores(1, 9), scores(1, 9, 2)
    assert difference_interval(*one) == confidence_interval((one[0] - one[1])[0])


@pytest.mark.parametrize(("seeds", "least"), [(3, 0.85), (6, 0.9)])
def test_intervals_cover_what_other_seeds_would_give_in_other_tasks(seeds: int, least: float) -> None:
    """Intervals over tasks alone cover far less often where seeds differ."""
    generator = np.random.default_rng(3)
    alone, both = [], []
    for _ in range(200):
        tasks = 0.3 * generator.normal(size=(1, 40))
        drawn = [0.3 * generator.normal(size=(seeds, 40)) + 0.1 * generator.normal(size=(seeds, 1)) for _ in "ab"]
        both.append(interval(difference, tasks + drawn[0], tasks + drawn[1], resamples=200))
        alone.append(confidence_interval((drawn[0] - drawn[1]).mean(axis=0)))
    covered = [np.mean([low <= 0 <= high for low, high in intervals]) for intervals in (both, alone)]
    assert covered[0] > least
    assert covered[1] < 0.8


def test_a_score_that_is_not_a_number_counts_as_no_result() -> None:
    """A comparison with NaN is false: it would count as a defeat, and as a score below every threshold."""
    ours, theirs = scores(2, 6), scores(2, 6, 1)
    ours[1, 3] = np.nan
    assert np.isnan(improvement(ours, theirs))
    assert np.isnan(improvement(theirs, ours))
    assert np.isnan(profile(ours, np.array([0.0, 100.0]))).all()
    for statistic in (reliability.mean_score, iqm_score):
        assert np.isnan(statistic(ours))
        assert np.isnan(interval(statistic, ours)).all()
    assert np.isnan(interval(improvement, ours, theirs)).all()


def test_one_task_has_no_interval_and_methods_share_their_tasks() -> None:
    assert np.isnan(interval(iqm_score, np.ones((2, 1)))).all()
    with pytest.raises(ValueError, match=r"in the same tasks, not in \[3, 4\] tasks"):
        interval(difference, np.ones((1, 3)), np.ones((1, 4)))
