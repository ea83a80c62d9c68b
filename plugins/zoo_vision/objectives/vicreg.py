"""VICReg: views of an image alike, every dimension alive, no two dimensions the same (Bardes et al., "VICReg:
variance-invariance-covariance regularization for self-supervised learning", ICLR 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.objectives import read_options
from zoo_registry.errors import UsageError
from zoo_vision.objectives.joint import ComparingTask, check_positive, count_of, mlp
from zoo_vision.objectives.views import ManyViews, ViewOptions, uneven_pair
from zoo_vision.pipeline import ImagePipeline

EPSILON = 1e-4


@dataclass(frozen=True)
class VicRegOptions(ViewOptions):
    """Settings of the objective.

    Attributes:
        invariance, variance, covariance: weights of the three terms.
        width: of the three layers of the expander.
    """

    invariance: float = 25.0
    variance: float = 25.0
    covariance: float = 1.0
    width: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(invariance=self.invariance, width=self.width)
        if min(self.variance, self.covariance) < 0:
            raise UsageError("A weight of VICReg's terms is negative.", "Give 0 (off) or more.")


def build_vicreg(backbone: Any, pipeline: Any, config: Any, classes: tuple[str, ...] = ()) -> VicRegTask:
    """See :class:`VicRegTask`."""
    return VicRegTask(backbone, classes, read_options(VicRegOptions, config))


def vicreg_view(pipeline: ImagePipeline, config: Any) -> ManyViews:
    """Two views, blurred and solarised unlike."""
    return ManyViews(pipeline, config.seed, uneven_pair(read_options(VicRegOptions, config)))


class VicRegTask(ComparingTask):
    """Three weighted terms of expanded features, scaled as in the authors' code: the mean squared distance of two
    views; the mean over dimensions and views of how far the standard deviation falls short of 1; the squares of
    covariances of different dimensions, summed, divided by their number D and added over views."""

    def __init__(self, backbone: Any, classes: tuple[str, ...], options: VicRegOptions) -> None:
        width = options.width
        super().__init__(backbone, classes, mlp(backbone.dim, width, width, width))
        self.options = options

    def compare(self, vectors: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """The loss of the batch times N, N, and the three terms without their weights."""
        one, other = vectors.unbind(1)
        terms = {
            "invariance": F.mse_loss(one, other),
            "variance": (shortfall(one) + shortfall(other)) / 2,
            "covariance": redundancy(one) + redundancy(other),
        }
        weighted = torch.stack([getattr(self.options, name) * term for name, term in terms.items()]).sum()
        count = count_of(vectors)
        return weighted * count, count, terms


def shortfall(vectors: Tensor) -> Tensor:
    """(N, D) -> mean over dimensions of what the standard deviation lacks to 1."""
    squares = (vectors - vectors.mean(dim=0)).square().sum(dim=0)
    return F.relu(1 - (squares / max(len(vectors) - 1, 1) + EPSILON).sqrt()).mean()


def redundancy(vectors: Tensor) -> Tensor:
    """(N, D) -> squares of the covariances of different dimensions, summed, divided by D."""
    centred = vectors - vectors.mean(dim=0)
    covariance = centred.T @ centred / max(len(vectors) - 1, 1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / vectors.shape[1]
