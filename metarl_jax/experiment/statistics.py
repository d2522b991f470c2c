"""Summaries over tasks or seeds, with intervals. They run in NumPy on the host.

A statistic of values of which one is not a number (NaN) is none either, and an interval has no ends (NaN).
Each kind of interval was chosen by its measured coverage; tests/experiment/test_statistics.py measures it again.
"""

from collections.abc import Callable

import numpy as np
from scipy import special

Statistic = Callable[..., np.ndarray]
BLOCK = 2**22  # random numbers that a bootstrap draws at a time: bounds its memory


def mean(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """The arithmetic mean."""
    return np.mean(values, axis=axis)


def share(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """The mean of outcomes between 0 and 1. Its interval has a positive width even if all outcomes are equal."""
    return np.mean(values, axis=axis)


def iqm(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """The interquartile mean: the mean of the middle half (Agarwal et al. 2021, arXiv:2108.13264, §4.3)."""
    ordered = np.sort(np.asarray(values, np.float64), axis=axis)
    count = ordered.shape[axis]
    cut = count // 4
    middle = np.mean(np.take(ordered, range(cut, count - cut), axis=axis), axis=axis)
    return np.where(np.isnan(np.take(ordered, -1, axis=axis)), np.nan, middle)  # NaN is sorted last


def stratified_mean(values: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """The mean over strata of the means of values [..., N] in each: strata have equal weight, whatever their size."""
    label = np.unique(strata, axis=0, return_inverse=True)[1].reshape(-1)
    return np.mean([np.mean(values[..., label == stratum], axis=-1) for stratum in range(label.max() + 1)], axis=0)


def confidence_interval(
    values: np.ndarray,
    seed: int = 0,
    statistic: Statistic = mean,
    level: float = 0.95,
    resamples: int = 1000,
    *,
    strata: np.ndarray | None = None,
) -> tuple[float, float]:
    """An interval that covers the statistic of the population from which values [N] were drawn, N being tasks.

    A `mean` has Hall's interval, which is Student's corrected for skewness. A `share`, and a mean of only two different
    values, has Wilson's. Other statistics, such as `iqm`, have percentiles of a bootstrap of `resamples` samples drawn
    by `seed`. Except for a share, the interval of equal values has zero width. A single value has none (NaN).

    Args:
        values: One number for each task, [N].
        seed: Seed of the bootstrap.
        statistic: The statistic that the interval covers.
        level: The coverage probability.
        resamples: Samples of the bootstrap.
        strata: Labels [N] or [N, d] of groups with equal weight, as in `stratified_mean`; only for a `mean`.

    References:
        Hall 1992, "On the removal of skewness by transformation"; Wilson 1927; Welch 1947; Hesterberg 2015,
        arXiv:1411.5279, §3.3.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"an interval needs a non-empty vector of values, not one of shape {values.shape}")
    if strata is not None and statistic is not mean:
        raise ValueError("strata are for the interval of a mean; leave them out or pass statistic=mean")
    if not np.all(np.isfinite(values)):
        return np.nan, np.nan
    if statistic is share:
        return _share_interval(values, level)
    if values.size == 1:
        return np.nan, np.nan
    if statistic is not mean:
        return _bootstrap_interval(values, seed, statistic, level, resamples)
    low, high = float(values.min()), float(values.max())
    if strata is None and low < high and np.all((values == low) | (values == high)):
        ends = _share_interval((values - low) / (high - low), level)
        return low + (high - low) * ends[0], low + (high - low) * ends[1]
    return _mean_interval(values, np.zeros(values.size) if strata is None else strata, level)


def seed_interval(means: np.ndarray | list[float], level: float = 0.95) -> tuple[float, float]:
    """Student's interval of the mean over seeds, from the mean of each; NaN for a single seed."""
    means = np.asarray(means, np.float64)
    if means.size < 2 or not np.all(np.isfinite(means)):
        return np.nan, np.nan
    shifted = means - means[0]  # equal means give exact zeros
    half = special.stdtrit(means.size - 1, (1 + level) / 2) * np.sqrt(shifted.var(ddof=1) / means.size)
    centre = means[0] + shifted.mean()
    return float(centre - half), float(centre + half)


def _mean_interval(values: np.ndarray, strata: np.ndarray, level: float) -> tuple[float, float]:
    """Hall's cubic transformation of the t statistic of a mean over strata, with the degrees of freedom of Welch."""
    _, where, label, counts = np.unique(strata, axis=0, return_index=True, return_inverse=True, return_counts=True)
    label = label.reshape(-1)
    shifted = values - values[where][label]  # a constant stratum gives exact zeros
    average = np.bincount(label, shifted) / counts
    centred = shifted - average[label]
    square, cube = np.bincount(label, centred**2), np.bincount(label, centred**3)
    # Variance and third cumulant of the mean of each stratum; a stratum of one value has the variance of all values.
    overall = (values - values[0]).var(ddof=1)
    variance = np.where(counts > 1, square / np.maximum(counts - 1, 1), overall) / counts
    third = np.where(counts > 2, cube / np.maximum((counts - 1) * (counts - 2), 1), 0.0) / counts
    centre, error = np.mean(values[where] + average), np.sqrt(variance.sum()) / len(counts)
    if error == 0:
        return float(centre), float(centre)
    freedom = variance.sum() ** 2 / np.sum(variance**2 / np.maximum(counts - 1, 1))
    skewness = third.sum() / (len(counts) * error) ** 3
    ends = special.stdtrit(freedom, np.array([(1 + level) / 2, (1 - level) / 2]))
    if abs(skewness) > 1e-6:
        ends = 3 * (np.cbrt(1 + skewness * (ends - skewness / 6)) - 1) / skewness
    low, high = centre - error * ends
    return float(low), float(high)


def _share_interval(values: np.ndarray, level: float) -> tuple[float, float]:
    """Wilson's interval of a share; a fraction, as of several episodes a task, counts as several outcomes."""
    if np.any((values < 0) | (values > 1)):
        raise ValueError(f"a share needs values from 0 to 1, not from {values.min()} to {values.max()}")
    p, spread = float(values.mean()), float(values.var())
    worth = p * (1 - p) / spread if spread > 0 else 1.0  # equivalent outcomes of a value; 1 if all values are 0 or 1
    z = special.ndtri((1 + level) / 2)
    k = z**2 / (worth * values.size)
    centre, half = (p + k / 2) / (1 + k), np.sqrt(k * p * (1 - p) + k**2 / 4) / (1 + k)
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


def _bootstrap_interval(
    values: np.ndarray, seed: int, statistic: Statistic, level: float, resamples: int
) -> tuple[float, float]:
    def draw(generator: np.random.Generator, size: int) -> np.ndarray:
        return statistic(values[generator.integers(0, values.size, (size, values.size))], axis=1)

    low, high = percentiles(draw, values.size, values.size, seed, level, resamples)
    return float(low), float(high)


def percentiles(
    draw: Callable[[np.random.Generator, int], np.ndarray],
    count: int,
    size: int,
    seed: int,
    level: float,
    resamples: int,
) -> np.ndarray:
    """Percentiles [2, ...] of a bootstrap, with levels widened from the normal deviate to Student's t.

    Args:
        draw: The statistics [n, ...] of n resamples, drawn by a generator.
        count: The number of independent values, of which Student's t has one degree of freedom less.
        size: The numbers of one resample, which bound the memory.
        seed: Seed of the bootstrap.
        level: The coverage probability.
        resamples: Samples of the bootstrap.
    """
    generator, block = np.random.default_rng(seed), max(1, BLOCK // size)
    sizes = [min(block, resamples - start) for start in range(0, resamples, block)]
    draws = np.concatenate([draw(generator, each) for each in sizes])
    tail = special.ndtr(-special.stdtrit(count - 1, (1 + level) / 2))
    return np.quantile(draws, [tail, 1 - tail], axis=0)
