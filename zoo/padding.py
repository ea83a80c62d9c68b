"""Samples of different lengths as one array."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def pad(arrays: Sequence[np.ndarray], fill: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """One array or more (n_i, ...) as (padded (B, longest, ...), lengths (B,) int64)."""
    lengths = np.array([len(array) for array in arrays], dtype=np.int64)
    return padded(arrays, arrays[0].shape[1:], arrays[0].dtype, fill), lengths


def padded(arrays: Sequence[np.ndarray], rest: tuple[int, ...], dtype: npt.DTypeLike, fill: int = 0) -> np.ndarray:
    """(len(arrays), longest, *rest), padded at the end with ``fill``."""
    out = np.full((len(arrays), max(map(len, arrays), default=0), *rest), fill, dtype=dtype)
    for row, array in enumerate(arrays):
        out[row, : len(array)] = array
    return out
