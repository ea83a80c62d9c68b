"""What contrastive objectives share: a pair of towers, vectors that the engine couples over the whole batch, and a
factor on cosines that is kept within bounds. B pairs of a micro-batch, N of the whole batch, D width."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo.objectives import CoupledTask
from zoo.protocols import Batch, Metrics
from zoo_multimodal.locking import lock_tower
from zoo_multimodal.objectives.recall import RecallMetrics
from zoo_registry.errors import UsageError

HOTTEST = math.log(100)
"""Largest logarithm of the factor on cosines, above which training becomes unstable (Radford et al. 2021)."""


@dataclass(frozen=True)
class ContrastiveOptions:
    """Settings of a contrastive objective.

    Attributes:
        lock: modality of a tower that stays as it is (LiT); empty: both learn.
        crop: smallest share of a picture's area that a random crop of it keeps.
    """

    lock: str = ""
    crop: float = 0.9

    def __post_init__(self) -> None:
        if not 0.0 < self.crop <= 1.0:
            raise UsageError(f"crop is {self.crop}, which is no share of a picture.", "Give more than 0, at most 1.")


class ContrastiveTask(CoupledTask):
    """A :class:`zoo.protocols.Coupled` task over a :class:`zoo.protocols.DualEncoder`. Subclasses give
    :meth:`compare`."""

    sample = "pair"
    monitor = ("mean_recall", "max")

    def __init__(self, backbone: Any, options: ContrastiveOptions) -> None:
        super().__init__(backbone)
        self.options = options
        if options.lock:
            lock_tower(backbone, options.lock)

    def vectors(self, batch: Batch) -> Tensor:
        """(B, 2, D) unit vectors."""
        pooled: Tensor = self.backbone(batch).pooled
        return pooled.float()

    def outputs(self, batch: Batch, vectors: Tensor) -> Tensor | None:
        """The (B, 2, D) unit vectors in what :meth:`vectors` gives."""
        return vectors

    def similarities(self, vectors: Tensor) -> Tensor:
        """(N, 2, D) -> (N, N) cosines times the factor; rows are of the first side."""
        similar: Tensor = self.backbone.logit_scale.exp() * vectors[:, 0] @ vectors[:, 1].T
        return similar

    def counted(self, loss: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """What :meth:`compare` gives, of a loss that is summed over the pairs."""
        count = torch.full((), float(len(vectors)), device=vectors.device)
        return loss, count, {"logit_scale": self.backbone.logit_scale.detach().exp().reshape(())}

    def after_step(self, step: int, total: int) -> None:
        """Keep the factor between 1 and 100."""
        with torch.no_grad():
            self.backbone.logit_scale.clamp_(0, HOTTEST)

    def metrics(self) -> Metrics:
        """See :class:`zoo_multimodal.objectives.recall.RecallMetrics`."""
        return RecallMetrics(self.backbone.modalities)
