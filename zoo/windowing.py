"""Long recordings in windows of bounded length, and what the windows say of the whole: the one rule that training's
evaluation, prediction and serving share. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def window_starts(length: int, window: int) -> np.ndarray:
    """(count,) int64 where the windows of a recording begin: as few as cover it, a like distance apart, the last ending
    where the recording ends. One at 0 where it is no longer than a window, or ``window`` is 0.

    Args:
        length, window: in samples.
    """
    if window <= 0 or length <= window:
        return np.zeros(1, np.int64)
    count = -(-length // window)
    return np.arange(count, dtype=np.int64) * (length - window) // (count - 1)


def windows_of(array: np.ndarray, window: int) -> list[np.ndarray]:
    """The windows of a recording, each (window, ...); the recording itself where it is no longer. Views, not copies.

    Args:
        array: (n, ...).
        window: in samples; 0: whole recordings.
    """
    if window <= 0 or len(array) <= window:
        return [array]
    return [array[start : start + window] for start in window_starts(len(array), window)]


def average(rows: Sequence[np.ndarray] | np.ndarray, owners: Sequence[int] | np.ndarray) -> list[np.ndarray]:
    """The mean of the rows of each owner, in the order in which owners first appear: windows to recordings.

    Of logits this is the geometric mean of the windows' probabilities (of their odds, for several labels): a mean of
    log-softmax differs from it by a constant that softmax takes away again.

    Args:
        rows: one array a window, of one shape.
        owners: which recording each window is of.
    """
    groups: dict[int, list[np.ndarray]] = {}
    for row, owner in zip(rows, owners, strict=True):
        groups.setdefault(int(owner), []).append(np.asarray(row))
    return [group[0] if len(group) == 1 else np.mean(group, axis=0).astype(group[0].dtype) for group in groups.values()]
