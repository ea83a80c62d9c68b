"""Retrieval in both directions: of N pairs of vectors, what is found of one side from the other. Imports no torch.

A row is a pair. The same item may stand in several rows (a picture with five captions, a caption of two pictures): it
asks once, is found once, and every item that shares a row with it is a right answer, as in the usual evaluation on
COCO and Flickr30k (Karpathy and Fei-Fei, "Deep visual-semantic alignments", 2015).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

DEPTHS = (1, 5, 10)
CHUNK = 1024


def recalls(
    first: np.ndarray,
    second: np.ndarray,
    groups: np.ndarray | None = None,
    ks: Sequence[int] = DEPTHS,
    sides: tuple[str, str] = ("image", "text"),
) -> dict[str, float]:
    """Share of the items of one side for which a right one of the other is among the k most similar.

    Args:
        first, second: (N, D) unit vectors; row i of one belongs with row i of the other.
        groups: (N, 2) ids, equal within a column where the items are the same; or (N,) for rows that are alike on
            both sides; None: all differ.
        ks: depths.
        sides: their names.

    Returns:
        ``{"image_to_text_recall_at_1": ..., ..., "text_to_image_recall_at_10": ..., "mean_recall": ...}``, the last the
        mean of all the others.

    Raises:
        ValueError: no rows, or sizes that do not go together.
    """
    return recalls_of(ranks(first, second, groups), ks, sides)


def recalls_of(
    ranks: tuple[np.ndarray, np.ndarray], ks: Sequence[int] = DEPTHS, sides: tuple[str, str] = ("image", "text")
) -> dict[str, float]:
    """What :func:`recalls` returns, out of what :func:`ranks` does."""
    named = zip((f"{sides[0]}_to_{sides[1]}", f"{sides[1]}_to_{sides[0]}"), ranks, strict=True)
    found = {f"{way}_recall_at_{k}": float((rank <= k).mean()) for way, rank in named for k in ks}
    return {**found, "mean_recall": float(np.mean(list(found.values())))}


def ranks(first: np.ndarray, second: np.ndarray, groups: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The rank, from 1, of the first right answer: for each item of the first side, and for each of the second, in the
    order in which they first occur. Of equal similarities the wrong answers come first, so that vectors which are all
    the same, or no numbers, find nothing. Arguments as in :func:`recalls`.

    Raises:
        ValueError: no rows, or sizes that do not go together.
    """
    first, second = np.asarray(first, np.float32), np.asarray(second, np.float32)
    if first.ndim != 2 or first.shape != second.shape or not len(first):
        raise ValueError(f"{first.shape} and {second.shape} are no pairs of vectors")
    ids = np.arange(len(first)) if groups is None else np.asarray(groups)
    ids = np.stack([ids, ids], axis=1) if ids.ndim == 1 else ids
    if ids.shape != (len(first), 2):
        raise ValueError(f"ids of shape {ids.shape} for {len(first)} pairs")
    (rows, here), (columns, there) = (_distinct(ids[:, side]) for side in (0, 1))
    one, other = first[rows], second[columns]
    return _ranks(one, other, here, there), _ranks(other, one, there, here)


def _distinct(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rows of each item's first occurrence, in order; the number of each row's item among these)."""
    _, rows, item = np.unique(ids, return_index=True, return_inverse=True)
    order = rows.argsort()
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return rows[order], place[item.reshape(-1)]


def _ranks(asking: np.ndarray, asked: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """asking (Q, D), asked (C, D); pair i joins ``one[i]`` of the former with ``other[i]`` of the latter."""
    by_query = one.argsort(kind="stable")
    starts = np.searchsorted(one[by_query], np.arange(len(asking) + 1))
    found = np.empty(len(asking), np.int64)
    for start in range(0, len(asking), CHUNK):
        stop = min(start + CHUNK, len(asking))
        pairs = by_query[starts[start] : starts[stop]]
        similar = asking[start:stop] @ asked.T
        right = np.zeros(similar.shape, bool)
        right[one[pairs] - start, other[pairs]] = True
        best = np.where(right, similar, -np.inf).max(axis=1, keepdims=True)
        found[start:stop] = 1 + (~(similar < best) & ~right).sum(axis=1)  # written so that NaN is never beaten
    return found
