"""Intervals against scipy, against their definitions, and by how often they cover what they are for."""

from collections.abc import Callable, Sequence
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from scipy import optimize, stats

from metarl_jax.experiment import statistics
from metarl_jax.experiment.statistics import confidence_interval, iqm, mean, seed_interval, share, stratified_mean

DRAWS: dict[str, Callable[[np.random.Generator, Any], np.ndarray]] = {
    "normal": lambda generator, size: generator.normal(size=size),
    "exponential": lambda generator, size: generator.exponential(size=size),
    "lognormal": lambda generator, size: np.exp(0.75 * generator.normal(size=size)),
    "three values": lambda generator, size: generator.integers(0, 3, size).astype(float),
    "one in ten fails": lambda generator, size: 1 - (generator.random(size) < 0.1) * generator.random(size),
}
MEANS = {
    "normal": 0.0,
    "exponential": 1.0,
    "lognormal": np.exp(0.75**2 / 2),
    "three values": 1.0,
    "one in ten fails": 0.95,
}
# Of an exponential, 2 ∫ -log(1 - u) du from u = 1/4 to 3/4.
MIDDLE_MEANS = {"normal": 0.0, "exponential": 1 + 1.5 * np.log(4 / 3) - 0.5 * np.log(4), "three values": 1.0}
LOW, HIGH = 0.93, 0.97  # a nominal 95 %


def covered(intervals: Sequence[tuple[float, float]], truth: float) -> float:
    return float(np.mean([low <= truth <= high for low, high in intervals]))


def assert_covers(intervals: Sequence[tuple[float, float]], truth: float, low: float = LOW, high: float = HIGH) -> None:
    """The share that covers the truth is in [low, high], as far as so many intervals tell: three standard errors."""
    found, error = covered(intervals, truth), 3 * np.sqrt(0.05 * 0.95 / len(intervals))
    assert low - error <= found <= high + error


@pytest.mark.parametrize(
    ("name", "count"),
    [
        *(("normal", count) for count in (8, 40, 10_000)),
        *(("exponential", count) for count in (8, 20, 40, 1000)),
        *((name, count) for name in ("lognormal", "one in ten fails") for count in (40, 1000)),
        ("three values", 40),
    ],
)
def test_intervals_of_means_cover_as_often_as_they_say(name: str, count: int) -> None:
    generator = np.random.default_rng(0)
    repeats = 3000 if count < 5000 else 500
    assert_covers([confidence_interval(DRAWS[name](generator, count)) for _ in range(repeats)], MEANS[name])


def test_intervals_of_few_skewed_values_cover_more_often_than_percentiles() -> None:
    """Not reached: twelve lognormal values of skewness 6 give 91 %."""
    generator = np.random.default_rng(1)
    samples = np.exp(generator.normal(size=(2000, 12)))
    found = covered([confidence_interval(sample) for sample in samples], np.exp(0.5))
    resampled = samples[np.arange(500)[:, None, None], generator.integers(0, 12, (500, 400, 12))].mean(axis=2)
    ends = np.quantile(resampled, [0.025, 0.975], axis=1).T
    assert 0.89 <= found <= 0.93
    assert covered(list(map(tuple, ends)), np.exp(0.5)) < found - 0.05


@pytest.mark.parametrize("count", [12, 40])
@pytest.mark.parametrize("name", MIDDLE_MEANS)
def test_intervals_of_interquartile_means_cover_as_often_as_they_say(name: str, count: int) -> None:
    samples = DRAWS[name](np.random.default_rng(2), (600, count))
    intervals = [confidence_interval(sample, statistic=iqm, resamples=400) for sample in samples]
    assert_covers(intervals, MIDDLE_MEANS[name], high=0.985 if name == "three values" else HIGH)  # on the safe side


@pytest.mark.parametrize("count", [40, 200, 10_000])
@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
def test_intervals_of_shares_cover_as_often_as_they_say(count: int, p: float) -> None:
    """Every count of successes, by its probability."""
    likely = np.flatnonzero(stats.binom.pmf(np.arange(count + 1), count, p) > 1e-7)
    likely = likely[:: max(1, len(likely) // 400)]
    weights = stats.binom.pmf(likely, count, p)
    ends = [confidence_interval((np.arange(count) < k).astype(float), statistic=share) for k in likely]
    holds = [low <= p <= high for low, high in ends]
    assert 0.93 <= weights @ holds / weights.sum() <= 0.975


@pytest.mark.parametrize("successes", [0, 1, 7, 20])
def test_the_interval_of_a_share_is_that_of_wilson(successes: int) -> None:
    values = (np.arange(20) < successes).astype(float)
    expected = stats.binomtest(successes, 20).proportion_ci(method="wilson")
    np.testing.assert_allclose(confidence_interval(values, statistic=share), expected, atol=1e-12)
    if 0 < successes < 20:
        two_values = confidence_interval(5 - 3 * values)
        np.testing.assert_allclose(two_values, (5 - 3 * expected.high, 5 - 3 * expected.low), atol=1e-12)


def test_fractions_of_several_episodes_count_as_the_outcomes_behind_them() -> None:
    """Where the episodes of a task are independent, the interval is about that of all outcomes at once."""
    outcomes = (np.random.default_rng(3).random((4000, 8)) < 0.3).astype(float)
    fractions = np.array(confidence_interval(outcomes.mean(axis=1), statistic=share))
    np.testing.assert_allclose(fractions, confidence_interval(outcomes.ravel(), statistic=share), atol=1e-3)
    one_by_one = confidence_interval(outcomes[:, 0], statistic=share)
    assert np.ptp(fractions) < 0.5 * np.ptp(one_by_one)
    with pytest.raises(ValueError, match=r"from 0 to 1, not from -1\.0 to 3\.0"):
        confidence_interval([-1.0, 3.0], statistic=share)  # type: ignore[arg-type]


def test_intervals_of_means_solve_halls_equation() -> None:
    """T + λT²/3 + λ²T³/27 + λ/6 is at the quantiles of Student's t, where λ is the skewness of the mean."""
    values = np.random.default_rng(4).exponential(size=30)
    error, skewness = stats.sem(values), stats.skew(values, bias=False) / np.sqrt(30)

    def t_at(quantile: float) -> float:
        cubic = lambda t: t + skewness * t**2 / 3 + skewness**2 * t**3 / 27 + skewness / 6  # noqa: E731
        return optimize.brentq(lambda t: cubic(t) - stats.t.ppf(quantile, 29), -50, 50)

    expected = [values.mean() - error * t_at(quantile) for quantile in (0.975, 0.025)]
    np.testing.assert_allclose(confidence_interval(values), expected, rtol=1e-9)
    symmetric = np.concatenate([values, -values])
    plain = stats.t.interval(0.9, 59, loc=0.0, scale=stats.sem(symmetric))
    np.testing.assert_allclose(confidence_interval(symmetric, level=0.9), plain, rtol=1e-6)


def test_intervals_over_strata_are_those_of_welch() -> None:
    """The mean of two strata has the standard error and the degrees of freedom of half their difference."""
    generator = np.random.default_rng(5)
    x, y = (np.concatenate([z, -z]) for z in (generator.normal(size=6), 5 * generator.normal(size=15)))  # no skewness
    x = x + 7
    labels = np.repeat([3, 1], [12, 30])
    welch = stats.ttest_ind(x, y, equal_var=False).confidence_interval()
    low, high = confidence_interval(np.concatenate([x, y]), strata=labels)
    np.testing.assert_allclose([low + high, high - low], [7.0, (welch.high - welch.low) / 2], rtol=1e-9)
    np.testing.assert_allclose(stratified_mean(np.stack([[*x, *y], [*y, *x]]), labels)[0], (7.0 + 0.0) / 2)


@pytest.mark.parametrize("name", ["normal", "exponential"])
def test_intervals_over_strata_cover_as_often_as_they_say(name: str) -> None:
    """Twenty-one goals drawn by chance, each with its own level and spread."""
    generator = np.random.default_rng(6)
    levels, spreads = np.arange(21.0), np.linspace(0.2, 2.0, 21)
    truth = float(np.mean(levels + spreads * MEANS[name]))
    intervals, unweighted = [], []
    for _ in range(1500):
        goals = generator.integers(0, 21, 400)
        values = levels[goals] + spreads[goals] * DRAWS[name](generator, 400)
        intervals.append(confidence_interval(values, strata=goals))
        unweighted.append(confidence_interval(values))
    assert_covers(intervals, truth)
    assert np.mean(np.diff(unweighted)) > 4 * np.mean(np.diff(intervals))  # which goals were drawn is no uncertainty


def test_a_deterministic_policy_leaves_no_uncertainty_over_strata() -> None:
    goals = np.random.default_rng(7).integers(0, 5, (1000, 2))
    returns = 0.1 * goals[:, 0] + goals[:, 1] / 3
    expected = np.mean([0.1 * a + b / 3 for a in range(5) for b in range(5)])
    low, high = confidence_interval(returns, strata=goals)
    assert low == high
    assert (low, float(stratified_mean(returns, goals))) == pytest.approx((expected, expected))
    varied = returns.copy()
    varied[0] += 0.01
    assert np.ptp(confidence_interval(varied, strata=goals)) > 0
    assert np.ptp(confidence_interval(returns)) > 0.01


def test_a_stratum_of_one_value_has_the_variance_of_all() -> None:
    values = np.array([1.0, 2.0, 3.0, 10.0])
    low, high = confidence_interval(values, strata=np.array([0, 0, 0, 1]))
    errors = np.array([1.0 / 3, values.var(ddof=1)])
    freedom = errors.sum() ** 2 / (errors[0] ** 2 / 2 + errors[1] ** 2)
    half = stats.t.ppf(0.975, freedom) * np.sqrt(errors.sum()) / 2
    np.testing.assert_allclose([low, high], [6 - half, 6 + half], rtol=1e-6)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_intervals_over_seeds_are_those_of_student(count: int) -> None:
    samples = np.random.default_rng(8).normal(size=(3000, count))
    intervals = [seed_interval(sample) for sample in samples]
    expected = stats.t.interval(0.95, count - 1, loc=samples.mean(axis=1), scale=stats.sem(samples, axis=1))
    np.testing.assert_allclose(intervals, np.transpose(expected))
    assert_covers(intervals, 0.0)


@pytest.mark.parametrize("value", [0.0, 0.1, 37.214, 1e9])
def test_intervals_of_equal_values_are_empty(value: float) -> None:
    values = np.full(37, value)
    for statistic, strata in [(mean, None), (iqm, None), (mean, np.arange(37) % 5), (mean, np.arange(37))]:
        low, high = confidence_interval(values, statistic=statistic, strata=strata)
        assert low == high == pytest.approx(value, rel=1e-15)
    assert seed_interval(values) == (value, value)


def test_a_single_value_has_no_interval() -> None:
    assert np.isnan(confidence_interval(np.ones(1))).all()
    assert np.isnan(seed_interval([1.0])).all()


def test_an_illegal_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="non-empty"):
        confidence_interval(np.array([]))
    with pytest.raises(ValueError, match="strata are for the interval of a mean"):
        confidence_interval(np.arange(4.0), statistic=iqm, strata=np.arange(4))


def test_bootstraps_are_those_of_their_seed_whatever_the_size_of_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(9).normal(size=1000)
    first = confidence_interval(values, seed=1, statistic=iqm)
    assert first != confidence_interval(values, seed=2, statistic=iqm)
    sizes: list[int] = []

    def watched(values: np.ndarray, axis: int = 0) -> np.ndarray:
        sizes.append(values.size)
        return iqm(values, axis)

    monkeypatch.setattr(statistics, "BLOCK", 8000)
    assert first == confidence_interval(values, seed=1, statistic=watched)
    assert max(sizes) <= 8000
    assert sum(sizes) == 1000 * 1000


def test_the_interquartile_mean_ignores_the_outer_quarters() -> None:
    assert iqm(np.array([-100.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 1000.0])) == pytest.approx(3.5)


VALUES = strategies.lists(strategies.floats(-1e6, 1e6), min_size=1, max_size=40).map(np.array)


@hypothesis.settings(max_examples=100, deadline=None, derandomize=True, database=None)
@hypothesis.given(values=VALUES, shift=strategies.floats(-100, 100), order=strategies.randoms())
def test_the_interquartile_mean_is_that_of_scipy_in_any_order(values: np.ndarray, shift: float, order: Any) -> None:
    assert iqm(values) == pytest.approx(stats.trim_mean(values, 0.25), rel=1e-9, abs=1e-6)
    assert iqm(values + shift) == pytest.approx(iqm(values) + shift, rel=1e-9, abs=1e-6)
    shuffled = values.tolist()
    order.shuffle(shuffled)
    assert iqm(np.array(shuffled)) == iqm(values)
    assert values.min() - 1e-9 <= iqm(values) <= values.max() + 1e-9


@hypothesis.settings(max_examples=40, deadline=None, derandomize=True, database=None)
@hypothesis.given(
    values=VALUES, place=strategies.integers(0, 39), what=strategies.sampled_from([np.nan, np.inf, -np.inf])
)
def test_a_number_that_is_not_finite_never_looks_like_a_result(values: np.ndarray, place: int, what: float) -> None:
    """NaN is sorted last, so that a statistic of ranks would take it for the best of all."""
    broken = values.copy()
    broken[place % len(values)] = what
    for statistic in (mean, iqm, share):
        assert np.isnan(confidence_interval(broken, statistic=statistic)).all()
        assert not np.isnan(what) or np.isnan(statistic(broken))
    assert np.isnan(seed_interval(broken)).all()
    assert not np.isnan(what) or np.isnan(stratified_mean(broken, np.arange(len(broken)) % 3))
    assert np.isnan(iqm(np.stack([broken, values]), axis=1)[0]) or not np.isnan(what)
    assert iqm(np.stack([broken, values]), axis=1)[1] == iqm(values)
