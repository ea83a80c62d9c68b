"""A modality whose items differ in length: a text of numbers, decoded to (n, 2): each number and its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from zoo.data.dataset import Table
from zoo.protocols import RAGGED, Batch, Draws
from zoo_registry.errors import DataError


class NumbersPipeline:
    modality = "text"
    input_name = "numbers"
    key = "numbers-1"
    shape = (RAGGED, 2)
    dtype = np.dtype(np.int32)

    def __init__(self) -> None:
        self.decoded = 0

    def decode(self, item: Any) -> np.ndarray:
        self.decoded += 1
        if not all(part.isdigit() for part in item.split()):
            raise DataError(f"{item!r} holds no numbers.", "Write some.")
        numbers = [int(part) for part in item.split()]
        return np.stack([numbers, range(len(numbers))], axis=1).astype(np.int32).reshape(-1, 2)

    def augment(self, batch: Batch, draws: Draws) -> Batch:
        return self.prepare(batch)

    def prepare(self, batch: Batch) -> Batch:
        return {**batch, "numbers": batch["numbers"].to(torch.int64)}

    def describe(self) -> dict[str, Any]:
        return {}


class BatchedPipeline(NumbersPipeline):
    """The same, many at once."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def decode_batch(self, items: Sequence[Any]) -> list[np.ndarray | Exception]:
        self.sizes.append(len(items))
        return [self._attempt(item) for item in items]

    def _attempt(self, item: Any) -> np.ndarray | Exception:
        try:
            return self.decode(item)
        except DataError as error:
            return error


def lengths_like_sentences(count: int, seed: int = 0) -> np.ndarray:
    """Many short, few long: a log-normal like the token counts of sst2 (median near 11, up to 66)."""
    draw = np.random.default_rng(seed).lognormal(2.4, 0.65, count)
    return np.clip(draw, 3, 66).astype(np.int64)


def texts(lengths: Sequence[int] | np.ndarray) -> Table:
    """Row ``i`` holds ``i + 1`` as often as ``lengths[i]`` says."""
    return Table({"input": [" ".join([str(row + 1)] * int(n)) for row, n in enumerate(lengths)]})
