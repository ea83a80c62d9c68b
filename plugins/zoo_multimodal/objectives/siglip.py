"""Whether two belong together, asked of every two in the batch (Zhai et al., "Sigmoid loss for language image
pre-training", 2023)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.objectives import read_options
from zoo_multimodal.objectives.contrastive import ContrastiveOptions, ContrastiveTask

SCALE, BIAS = math.log(10), -10.0


def build_siglip(backbone: Any, pipeline: Any, config: Any) -> SiglipTask:
    """See :class:`SiglipTask`."""
    return SiglipTask(backbone, read_options(ContrastiveOptions, config))


class SiglipTask(ContrastiveTask):
    """Loss per pair: the binary cross entropies of one item with all of the other side, summed, in nats.

    The bias, which lets training begin with the answer "no" that is nearly always right, is the backbone's
    (``add_bias``) where it can have one, else the objective's. A backbone that has a bias already goes on with its own
    scale and bias.
    """

    def __init__(self, backbone: Any, options: ContrastiveOptions) -> None:
        super().__init__(backbone, options)
        if backbone.logit_bias is not None:
            return
        with torch.no_grad():
            backbone.logit_scale.fill_(SCALE)
        if hasattr(backbone, "add_bias"):
            backbone.add_bias(BIAS)
        else:
            self.bias = nn.Parameter(torch.tensor(BIAS))

    def compare(self, vectors: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        bias = self.bias if hasattr(self, "bias") else self.backbone.logit_bias
        logits = self.similarities(vectors) + bias
        together = 2 * torch.eye(len(logits), device=logits.device) - 1
        return self.counted(-F.logsigmoid(together * logits).sum(), vectors)
