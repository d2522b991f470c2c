"""Summaries over tasks or seeds, with intervals. Plain NumPy: they run once, on the host."""

from collections.abc import Callable

import numpy as np

Statistic = Callable[..., np.ndarray]


def mean(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """The arithmetic mean."""
    return np.mean(values, axis=axis)


def iqm(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """The interquartile mean: the mean of the middle half (Agarwal et al. 2021, arXiv:2108.13264, §4.3)."""
    ordered = np.sort(np.asarray(values, np.float64), axis=axis)
    count = ordered.shape[axis]
    cut = count // 4
    return np.mean(np.take(ordered, range(cut, count - cut), axis=axis), axis=axis)


def bootstrap_interval(
    values: np.ndarray, seed: int = 0, statistic: Statistic = mean, level: float = 0.95, resamples: int = 1000
) -> tuple[float, float]:
    """The percentile bootstrap interval of a statistic of values [n] (Efron 1979)."""
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"an interval needs a non-empty vector of values, not one of shape {values.shape}")
    generator = np.random.default_rng(seed)
    draws = np.array([statistic(values[generator.integers(0, values.size, values.size)]) for _ in range(resamples)])
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
