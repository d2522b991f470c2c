"""How sure a comparison of methods in the same held-out tasks is (Agarwal et al. 2021, arXiv:2108.13264).

The scores of a method are an array [seeds, N] of one return for each of its runs and tasks. All functions of scores
also take arrays with further axes in front. They run in NumPy on the host.
"""

from collections.abc import Callable

import numpy as np

from metarl_jax.experiment import statistics
from metarl_jax.experiment.statistics import confidence_interval, percentiles


def mean_score(scores: np.ndarray) -> np.ndarray:
    """The mean over seeds and tasks."""
    return scores.mean(axis=(-2, -1))


def iqm_score(scores: np.ndarray) -> np.ndarray:
    """The mean of the middle half of all seeds and tasks, which a few odd ones do not move (§4.3)."""
    return statistics.iqm(scores.reshape(*scores.shape[:-2], -1), axis=-1)


def difference(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """By what the mean score exceeds that of the others."""
    return mean_score(scores) - mean_score(others)


def improvement(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The probability of improvement (§4.3): how often a run scores more than one of the others in the same task.

    A tie counts as half a time.
    """
    ours, theirs = scores[..., :, None, :], others[..., None, :, :]
    return _known(ours - theirs, (ours > theirs) + 0.5 * (ours == theirs)).mean(axis=(-3, -2, -1))


def profile(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """The performance profile (§4.2): the share of runs and tasks that score more than each threshold, [thresholds]."""
    return np.stack([_known(scores, scores > threshold).mean(axis=(-2, -1)) for threshold in thresholds], axis=-1)


def _known(scores: np.ndarray, outcomes: np.ndarray) -> np.ndarray:
    """The outcomes, NaN where the scores are: a comparison with NaN is false, which would count as a result."""
    return np.where(np.isnan(scores), np.nan, outcomes)


def interval(
    statistic: Callable[..., np.ndarray], *scores: np.ndarray, seed: int = 0, level: float = 0.95, resamples: int = 1000
) -> np.ndarray:
    """The interval [2, ...] of a statistic of the scores of one or more methods, by a stratified bootstrap.

    Every resample draws the tasks once, for all methods, so that methods are compared in the same tasks. It draws the
    seeds of each method, the strata, separately. Seeds are drawn as a whole: the scores of one run in different tasks
    depend on each other. With one run a method, the interval is over tasks alone; with three whose seeds differ much,
    a nominal 95 % is about 89 %. A single task has none (NaN).

    Args:
        statistic: A function of one array for each method, [..., seeds, N] -> [..., any further axes].
        scores: The scores of each method, [seeds, N] with the same N.
        seed: Seed of the bootstrap.
        level: The coverage probability.
        resamples: Samples of the bootstrap.

    References:
        Owen 2007, arXiv:0711.2148, on drawing rows and columns separately.
    """
    counts = {each.shape[-1] for each in scores}
    if len(counts) != 1:
        raise ValueError(f"methods are compared in the same tasks, not in {sorted(counts)} tasks")
    count = counts.pop()
    if count == 1:
        return np.full((2, *np.shape(statistic(*scores))), np.nan)

    def draw(generator: np.random.Generator, size: int) -> np.ndarray:
        tasks = generator.integers(0, count, (size, 1, count))
        seeds = [generator.integers(0, len(each), (size, len(each), 1)) for each in scores]
        return statistic(*(each[drawn, tasks] for each, drawn in zip(scores, seeds, strict=True)))

    return percentiles(draw, count, sum(each.size for each in scores), seed, level, resamples)


def difference_interval(scores: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """95 % interval of the `difference`; between two runs, that of the mean of their differences by task."""
    if len(scores) == len(others) == 1:
        return confidence_interval(scores[0] - others[0])
    low, high = interval(difference, scores, others)
    return float(low), float(high)
