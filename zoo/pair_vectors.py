"""Pairs through a model of pairs: each item once, however often it occurs. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from zoo.data.items import distinct
from zoo.targets import decode_all
from zoo.zeroshot import Pair


@dataclass(frozen=True)
class PairVectors:
    """What a model makes of n pairs whose items could both be read.

    Attributes:
        vectors: of each side (n, D) unit vectors.
        ids: (n, 2), equal within a column where the items are the same.
        bad: (side, why) of items that could not be read; their pairs are left out.
        pairs: n and those left out.
    """

    vectors: tuple[np.ndarray, np.ndarray]
    ids: np.ndarray
    bad: list[tuple[str, str]]
    pairs: int

    def __len__(self) -> int:
        return len(self.ids)

    def logits(self, scale: float, bias: float) -> np.ndarray:
        """Of each distinct item of the first side with each of the second."""
        one, other = (self.vectors[side][first_rows(self.ids[:, side])] for side in (0, 1))
        found: np.ndarray = scale * one @ other.T + bias
        return found


def pair_vectors(pair: Pair, items: Sequence[Sequence[Any]], batch_size: int) -> PairVectors:
    """Encode pairs of raw items.

    Args:
        items: (first, second) of each pair.
    """
    found, ids, bad = [], [], []
    for place, modality in enumerate(pair.modalities):
        inputs, numbers = distinct([one[place] for one in items], modality)
        vectors: dict[int, np.ndarray] = {}
        for good, failed in decode_all(partial(pair.decode, modality), inputs, batch_size):
            bad += [(modality, why) for _, why in failed]
            if good:
                encoded = pair.encode(modality, [array for _, array in good])
                vectors.update(zip([position for position, _ in good], encoded, strict=True))
        found.append(vectors)
        ids.append(numbers)
    rows = [row for row, both in enumerate(zip(*ids, strict=True)) if all(n in found[i] for i, n in enumerate(both))]
    one, other = (_stacked(found[side][number] for number in ids[side][rows]) for side in (0, 1))
    return PairVectors((one, other), np.stack([numbers[rows] for numbers in ids], axis=1), bad, len(items))


def first_rows(ids: np.ndarray) -> np.ndarray:
    """Where each id occurs first, in order."""
    return np.sort(np.unique(ids, return_index=True)[1])


def _stacked(vectors: Iterable[np.ndarray]) -> np.ndarray:
    rows = list(vectors)
    return np.stack(rows) if rows else np.empty((0, 0), np.float32)
