"""What a contrastive objective is watched by: retrieval over the whole split, both ways."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

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
        self.vectors: list[Tensor] = []
        self.keys: list[Tensor] = []

    def update(self, logits: Tensor, batch: Batch) -> None:
        """logits: (B, 2, D) unit vectors."""
        self.vectors.append(logits)
        self.keys.append(batch[KEYS])

    def compute(self) -> dict[str, float]:
        mine = None
        if self.vectors:
            mine = torch.cat(self.vectors).cpu().numpy(), torch.cat(self.keys).cpu().numpy()
        shares = [mine]
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            shares = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(shares, mine)
        vectors, keys = (np.concatenate(part) for part in zip(*filter(None, shares), strict=True))
        return recalls(vectors[:, 0], vectors[:, 1], keys, sides=self.sides)

    def reset(self) -> None:
        self.vectors, self.keys = [], []

    def to(self, device: torch.device) -> RecallMetrics:
        return self
