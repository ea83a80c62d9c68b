"""What a contrastive objective is watched by: retrieval over the whole split, both ways."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from zoo.everyones import everyones
from zoo.protocols import Batch
from zoo.retrieval import recalls
from zoo_multimodal.objectives.view import KEYS


class RecallMetrics:
    """Recall at 1, 5 and 10 of either side from the other, over the split of all processes, and their mean. Items that
    are the same count as one.

    Args:
        sides: the two modalities.
    """

    def __init__(self, sides: tuple[str, str]) -> None:
        self.sides = sides
        self.parts: list[tuple[np.ndarray, np.ndarray]] = []

    def update(self, logits: Tensor, batch: Batch) -> None:
        """logits: (B, 2, D) unit vectors."""
        self.parts.append((logits.cpu().numpy(), batch[KEYS].cpu().numpy()))

    def compute(self) -> dict[str, float]:
        vectors, keys = (np.concatenate(column) for column in zip(*everyones(self.parts), strict=True))
        return recalls(vectors[:, 0], vectors[:, 1], keys, sides=self.sides)

    def reset(self) -> None:
        self.parts = []

    def to(self, device: torch.device) -> RecallMetrics:
        return self
