"""BYOL: guess what a slower copy of oneself makes of another view (Grill et al., "Bootstrap your own latent", NeurIPS
2020).

Its heads have no batch statistics but standardised weights (Richemond et al., "BYOL works even without batch
statistics", arXiv:2010.10241). With layer normalisation alone predictions were the same for every image after a dozen
steps, which the backbone's features do not show: ``prediction_std`` is logged in training.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.objectives import read_options
from zoo.protocols import Batch
from zoo_vision.objectives.ema_teacher import TeacherTask, frozen
from zoo_vision.objectives.joint import StandardLinear, check_positive, count_of, features_of, mlp
from zoo_vision.objectives.views import VIEWS, ManyViews, ViewOptions, uneven_pair
from zoo_vision.objectives.watch import spread
from zoo_vision.pipeline import ImagePipeline


@dataclass(frozen=True)
class ByolOptions(ViewOptions):
    """Settings of the objective.

    Attributes:
        momentum: share of itself that the teacher keeps in a step at first; 1 at the end.
        hidden, width: of the inner layers of projection and prediction, and of their vectors.
    """

    momentum: float = 0.99
    hidden: int = 1024
    width: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(hidden=self.hidden, width=self.width)


def build_byol(backbone: Any, pipeline: Any, config: Any, classes: tuple[str, ...] = ()) -> ByolTask:
    """See :class:`ByolTask`."""
    return ByolTask(backbone, classes, read_options(ByolOptions, config))


def byol_view(pipeline: ImagePipeline, config: Any) -> ManyViews:
    """Two views, blurred and solarised unlike."""
    return ManyViews(pipeline, config.seed, uneven_pair(read_options(ByolOptions, config)))


class ByolTask(TeacherTask):
    """Backbone, projection and prediction learn :func:`regression` on the projection of a teacher, which follows."""

    def __init__(self, backbone: Any, classes: tuple[str, ...], options: ByolOptions) -> None:
        super().__init__(backbone, classes, options.momentum)
        self.projector = mlp(backbone.dim, options.hidden, options.width, linear=StandardLinear)
        self.predictor = mlp(options.width, options.hidden, options.width, linear=StandardLinear)
        self.teacher = frozen(
            nn.ModuleDict({"backbone": copy.deepcopy(backbone), "projector": copy.deepcopy(self.projector)})
        )

    def teachers(self) -> Sequence[tuple[nn.Module, nn.Module]]:
        return [(self.teacher["backbone"], self.backbone), (self.teacher["projector"], self.projector)]

    def forward(self, batch: Batch, phase: str = "main") -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor | None]:
        views = batch[VIEWS]
        guess = self.predictor(self.projector(features_of(self.backbone, views)))
        with torch.no_grad():
            wanted = self.teacher["projector"](features_of(self.teacher["backbone"], views))
        loss = regression(guess.float(), wanted.float())
        logs = {"prediction_std": spread(guess[:, 0].detach().float())}
        return loss.sum(), count_of(loss), logs, self.watched(batch)


def regression(guess: Tensor, wanted: Tensor) -> Tensor:
    """Squared distance of unit vectors, each view's guess (B, 2, E) from the other view's target, added: (B,)."""
    cosines = F.cosine_similarity(guess, wanted.flip(1), dim=-1)
    return (2 - 2 * cosines).sum(dim=1)
