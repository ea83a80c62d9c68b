"""Intervals: the bootstrap over samples (Efron, 1979) for figures that are made of sums over samples, and Wilson's for
proportions. Imports no torch."""

from __future__ import annotations

import math

import numpy as np

Z95 = 1.959963984540054
RESAMPLES = 1000
MANY = 20_000


def resampled_sums(rows: np.ndarray) -> np.ndarray:
    """Sums over samples drawn again with replacement: rows (n, ...) -> (R, ...), seeded; fewer where n is large."""
    n = len(rows)
    random = np.random.default_rng(0)
    flat = rows.reshape(n, -1).astype(np.float64)
    draws = RESAMPLES if n <= MANY else RESAMPLES // 5
    sums = [np.bincount(random.integers(0, n, n), minlength=n) @ flat for _ in range(draws)]
    return np.stack(sums).reshape(draws, *rows.shape[1:])


def resampled_medians(values: np.ndarray) -> np.ndarray:
    """Medians of samples drawn again with replacement: values (n,) -> (R,), seeded; fewer where n is large."""
    n, random = len(values), np.random.default_rng(0)
    draws = RESAMPLES if n <= MANY else RESAMPLES // 5
    return np.array([np.median(values[random.integers(0, n, n)]) for _ in range(draws)])


def interval(values: np.ndarray) -> list[float] | None:
    """95 % of the values [low, high], those that are not finite aside; None without any."""
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return None
    low, high = np.percentile(values, (2.5, 97.5))
    return [float(low), float(high)]


def shares(parts: np.ndarray, wholes: np.ndarray) -> np.ndarray:
    """parts / wholes, NaN where there is no whole."""
    return np.where(wholes > 0, parts / np.maximum(wholes, 1e-300), np.nan)


def wilson(successes: float, trials: float) -> list[float] | None:
    """Wilson's 95 % score interval [low, high] of a proportion; None without trials."""
    if trials <= 0:
        return None
    share, z2 = successes / trials, Z95**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z95 / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    return [max(0.0, float(centre - half)), min(1.0, float(centre + half))]
