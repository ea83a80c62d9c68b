"""A task over tokens of rows of unequal length, and the real stores and batches for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from engine_toys import Accuracy, Toy
from ragged_toys import NumbersPipeline
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.data.batches import Eval, Train
from zoo.data.ragged import RaggedRows, ragged
from zoo.protocols import Batch


class RealTokens(Accuracy):
    """Accuracy over the tokens that are no padding."""

    def update(self, logits: Tensor, batch: Batch) -> None:
        real = real_tokens(batch)
        super().update(logits[real], {"label": targets(batch)[real]})


class TagTokens(Toy):
    """Tells each token's number modulo 3; the loss is the mean over real tokens."""

    def forward(self, batch: Batch, phase: str = "main") -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor | None]:
        logits = self.head(self.body(batch["numbers"]))  # (B, N, C)
        real = real_tokens(batch)
        loss = F.cross_entropy(logits[real], targets(batch)[real], reduction="sum")
        return loss, real.sum(), {}, logits

    def metrics(self) -> RealTokens:
        return RealTokens()


def real_tokens(batch: Batch) -> Tensor:
    return torch.arange(batch["numbers"].shape[1], device=batch["length"].device) < batch["length"][:, None]


def targets(batch: Batch) -> Tensor:
    return batch["numbers"] % 3


class Numbers(NumbersPipeline):
    """Rows of bare numbers."""

    shape = (-1,)


def ragged_task(dropout: float = 0.0) -> TagTokens:
    torch.manual_seed(0)
    return TagTokens(nn.Sequential(nn.Embedding(12, 8), nn.Tanh(), nn.Dropout(dropout)))


def rows(count: int, seed: int) -> RaggedRows:
    """Numbers below 12; the first row, of 13, is the only one so long."""
    draw = np.random.default_rng(seed)
    lengths = [13, *draw.integers(1, 13, count - 1)]
    return ragged([draw.integers(0, 12, length) for length in lengths], np.int32)


def ragged_train(**options: Any) -> Train:
    store = rows(60, seed=1)
    return Train(store, np.zeros(len(store), np.int64), Numbers(), **{"batch_size": 12, "seed": 0, **options})


def ragged_eval() -> Eval:
    store = rows(21, seed=2)
    return Eval(store, np.zeros(len(store), np.int64), Numbers(), batch_size=4)
