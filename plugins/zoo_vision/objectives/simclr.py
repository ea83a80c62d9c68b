"""SimCLR: tell the other view of an image from the views of all others in the batch (Chen et al., "A simple framework
for contrastive learning of visual representations", ICML 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.objectives import read_options
from zoo_vision.objectives.joint import ComparingTask, check_positive, count_of, mlp
from zoo_vision.objectives.views import ManyViews, ViewOptions, even_pair
from zoo_vision.pipeline import ImagePipeline


@dataclass(frozen=True)
class SimClrOptions(ViewOptions):
    """Settings of the objective.

    Attributes:
        temperature: that cosines are divided by.
        hidden, width: of the projection's inner layer, and of its vectors.
    """

    temperature: float = 0.2
    hidden: int = 1024
    width: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(temperature=self.temperature, hidden=self.hidden, width=self.width)


def build_simclr(backbone: Any, pipeline: Any, config: Any, classes: tuple[str, ...] = ()) -> SimClrTask:
    """See :class:`SimClrTask`."""
    return SimClrTask(backbone, classes, read_options(SimClrOptions, config))


def simclr_view(pipeline: ImagePipeline, config: Any) -> ManyViews:
    """Two views, drawn alike."""
    return ManyViews(pipeline, config.seed, even_pair(read_options(SimClrOptions, config)))


class SimClrTask(ComparingTask):
    """:func:`nt_xent` of projected features, exact over micro-batches and processes."""

    def __init__(self, backbone: Any, classes: tuple[str, ...], options: SimClrOptions) -> None:
        super().__init__(backbone, classes, mlp(backbone.dim, options.hidden, options.width))
        self.temperature = options.temperature

    def vectors(self, batch: dict[str, Tensor]) -> Tensor:
        """(B, 2, E) unit vectors."""
        return F.normalize(super().vectors(batch), dim=-1)

    def compare(self, vectors: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """See :func:`nt_xent`; ``right`` is the share of views whose nearest is the other view of their image."""
        loss, right = nt_xent(vectors, self.temperature)
        return loss, count_of(vectors), {"right": right}


def nt_xent(vectors: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The normalised temperature-scaled cross entropy of unit vectors (N, 2, E): for each of the 2N views, its other
    view is the right one among 2N - 1. Averaged over both views of an image and summed over images, in nats; and the
    share of views that are guessed right."""
    views = vectors.transpose(0, 1).flatten(0, 1)  # (2N, E): all first views, then all second ones
    rows = torch.arange(len(views), device=views.device)
    logits = (views @ views.T / temperature).masked_fill(rows[:, None] == rows, -torch.inf)
    target = rows.roll(len(vectors))
    loss = F.cross_entropy(logits, target, reduction="sum") / 2
    return loss, (logits.detach().argmax(dim=1) == target).float().mean()
