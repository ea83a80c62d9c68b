"""What objectives share that learn by comparing views of an image. B images, V views, D width."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.objectives import CoupledTask, PretrainingTask
from zoo.protocols import Batch, Metrics
from zoo_registry.errors import UsageError
from zoo_vision.objectives.views import PLAIN, VIEWS
from zoo_vision.objectives.watch import Watch


def mlp(*widths: int, linear: type[nn.Linear] = nn.Linear) -> nn.Sequential:
    """Linear maps between ``widths`` with layer normalisation and ReLU between them. Papers have batch normalisation
    there, by which a vector would depend on its micro-batch."""
    layers: list[nn.Module] = []
    for wide, narrow in itertools.pairwise(widths):
        layers += [linear(wide, narrow), nn.LayerNorm(narrow), nn.ReLU()]
    return nn.Sequential(*layers[:-2])


class StandardLinear(nn.Linear):
    """A linear map whose weights have mean 0 and variance 1 / fan-in in each row (weight standardisation, Qiao et al.
    2019, arXiv:1903.10520): what all inputs have in common does not pass."""

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean(dim=1, keepdim=True)
        scale = weight.square().sum(dim=1, keepdim=True).sqrt() + 1e-5
        return F.linear(input, weight / scale, self.bias)


def check_positive(**values: float) -> None:
    """Refuse settings that are not above 0.

    Raises:
        UsageError: names the first.
    """
    for name, value in values.items():
        if not value > 0:
            raise UsageError(f"{name} is {value}.", "Give a value above 0.")


class JointTask(PretrainingTask):
    """A task on views. What is watched in evaluations are the features of the plain pictures.

    Args:
        classes: names, where the data has any; nothing is learnt from them.
    """

    def __init__(self, backbone: Any, classes: tuple[str, ...]) -> None:
        super().__init__(backbone)
        self.classes = classes

    def watched(self, batch: Batch) -> Tensor | None:
        """(B, D) features of the backbone in evaluation, None in training."""
        if self.training or PLAIN not in batch:
            return None
        pooled: Tensor = self.backbone({"image": batch[PLAIN]}).pooled
        return pooled

    def metrics(self) -> Metrics:
        """See :class:`zoo_vision.objectives.watch.Watch`."""
        return Watch(self.classes)


def features_of(backbone: Any, views: Tensor) -> Tensor:
    """views (B, V, C, H, W) -> pooled features (B, V, D), in one pass."""
    pooled: Tensor = backbone({"image": views.flatten(0, 1)}).pooled
    return pooled.unflatten(0, views.shape[:2])


class ComparingTask(CoupledTask, JointTask):
    """A projection of each view, and a loss over those of the whole batch, (N, 2, E).

    Args:
        projector: maps features (..., D) to vectors (..., E).
    """

    sample = "image"

    def __init__(self, backbone: Any, classes: tuple[str, ...], projector: nn.Module) -> None:
        super().__init__(backbone, classes)
        self.projector = projector

    def vectors(self, batch: Batch) -> Tensor:
        """(B, 2, E) float."""
        vectors: Tensor = self.projector(features_of(self.backbone, batch[VIEWS]))
        return vectors.float()

    def outputs(self, batch: Batch, vectors: Tensor) -> Tensor | None:
        return self.watched(batch)


def count_of(vectors: Tensor) -> Tensor:
    """The number of rows, on their device."""
    return torch.full((), float(len(vectors)), device=vectors.device)
