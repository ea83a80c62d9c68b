"""Which of the others in the batch belongs to it, asked both ways (Radford et al., "Learning transferable visual models
from natural language supervision", 2021; the loss is InfoNCE of van den Oord et al. 2018)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.objectives import read_options
from zoo_multimodal.objectives.contrastive import ContrastiveOptions, ContrastiveTask


def build_clip(backbone: Any, pipeline: Any, config: Any) -> ClipTask:
    """See :class:`ClipTask`."""
    return ClipTask(backbone, read_options(ContrastiveOptions, config))


class ClipTask(ContrastiveTask):
    """Loss per pair: the mean of the cross entropies of finding the second among all seconds and the first among all
    firsts, in nats."""

    def compare(self, vectors: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        logits = self.similarities(vectors)
        return self.counted(matching_loss(logits), vectors)


def matching_loss(logits: Tensor) -> Tensor:
    """(N, N), of which the diagonal is right -> the sum over pairs of the mean of both directions' cross entropies."""
    target = torch.arange(len(logits), device=logits.device)
    there = F.cross_entropy(logits, target, reduction="sum")
    back = F.cross_entropy(logits.T, target, reduction="sum")
    return (there + back) / 2
