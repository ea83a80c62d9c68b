"""A modality small enough to see through: a file holds one number, decoded to a (1, 2, 2) array of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from zoo.protocols import Batch, Draws
from zoo_registry.errors import DataError


class NumberPipeline:
    modality = "number"
    input_name = "number"
    key = "number-1"
    shape = (1, 2, 2)
    dtype = np.dtype(np.uint8)

    def __init__(self) -> None:
        self.decoded = 0

    def decode(self, item: Any) -> np.ndarray:
        self.decoded += 1
        text = item.decode() if isinstance(item, bytes) else Path(item).read_text()
        if not text.strip().isdigit():
            raise DataError(f"{item} holds no number.", "Write one.")
        return np.full(self.shape, int(text) % 256, dtype=self.dtype)

    def augment(self, batch: Batch, draws: Draws) -> Batch:
        noise = draws.uniform("noise", 1)[:, :, None, None]
        return {**batch, "number": batch["number"].to(torch.float32) + noise}

    def prepare(self, batch: Batch) -> Batch:
        return {**batch, "number": batch["number"].to(torch.float32)}

    def describe(self) -> dict[str, Any]:
        return {}


@pytest.fixture
def pipeline() -> NumberPipeline:
    return NumberPipeline()


@pytest.fixture
def talk() -> list[str]:
    return []
