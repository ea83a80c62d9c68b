"""Batches of items of like length, so that little is padding. An epoch's batches depend on its permutation alone."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

MEGA = 50
"""Batches among whose samples those of like length are put together: few enough to keep the order random, enough for
most of the padding to go (as ``group_by_length`` of transformers)."""


def by_length(order: np.ndarray, lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Full batches of like lengths, in ascending order within each ``MEGA`` of them; the rest of ``order`` is left out.

    Args:
        order: rows in random order.
        lengths: of all rows.
    """
    order = order[: len(order) // batch_size * batch_size]
    batches: list[np.ndarray] = []
    for first in range(0, len(order), MEGA * batch_size):
        rows = order[first : first + MEGA * batch_size]
        batches += list(rows[np.argsort(lengths[rows], kind="stable")].reshape(-1, batch_size))
    return batches


def longest_first(order: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Rows from the longest to the shortest, equal ones in the order given."""
    return order[np.argsort(-lengths[order], kind="stable")]


def token_cuts(lengths: np.ndarray, batch_tokens: int) -> np.ndarray:
    """Where to cut rows of descending lengths so that no batch pads to more than ``batch_tokens`` tokens, but for one
    of a single longer row. A small rest shares evenly with the batch before, so that no batch is tiny.

    Returns:
        (batches - 1,) positions, as ``np.split`` takes them.
    """
    starts = [0]
    while (end := starts[-1] + max(1, batch_tokens // int(lengths[starts[-1]]))) < len(lengths):
        starts.append(end)
    if len(starts) > 1 and len(lengths) - starts[-1] < starts[-1] - starts[-2]:
        starts[-1] = (starts[-2] + len(lengths) + 1) // 2
    return np.array(starts[1:], dtype=np.int64)


def padding_share(lengths: np.ndarray, batches: Iterable[np.ndarray]) -> float:
    """Share of the batches' tokens that is padding, each batch being padded to its longest row."""
    real = padded = 0
    for rows in batches:
        real += int(lengths[rows].sum())
        padded += len(rows) * int(lengths[rows].max())
    return 1 - real / padded
