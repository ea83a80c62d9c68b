"""Several views of each image, varied independently: what objectives that compare views learn from.

The recipe is SimCLR's (Chen et al. 2020, arXiv:2002.05709) with BYOL's unequal blur and solarisation (Grill et al.
2020, arXiv:2006.07733). B images, V views.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo.data.draws import HashDraws
from zoo.objectives import EVALUATION, View
from zoo.protocols import Batch, Draws
from zoo_registry.errors import UsageError
from zoo_vision.augment import Augmentation
from zoo_vision.pipeline import ImagePipeline

VIEWS = "image"
LOCALS = "locals"
PLAIN = "plain"


@dataclass(frozen=True)
class ViewOptions:
    """How far apart views are.

    Attributes:
        crop: smallest share of a picture's area that a view shows.
        jitter: strength of the changes of colour; 1 is SimCLR's on ImageNet, 0.5 its on small pictures.
    """

    crop: float = 0.2
    jitter: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.crop <= 1:
            raise UsageError(f"crop is {self.crop}, which is no share of a picture.", "Give more than 0, at most 1.")
        if not 0 <= self.jitter <= 1.25:
            raise UsageError(f"jitter is {self.jitter}.", "Give 0 (off) to 1.25.")


def varied(options: ViewOptions, blur: float, solarise: float = 0.0) -> Augmentation:
    """The transform of a view.

    Args:
        blur, solarise: probabilities.
    """
    strength = 0.8 * options.jitter
    return Augmentation(
        crop_scale=(options.crop, 1.0),
        jitter=(strength, strength, strength),
        hue=0.2 * options.jitter,
        jitter_share=0.8,
        grey=0.2,
        blur=blur,
        solarise=solarise,
    )


def even_pair(options: ViewOptions) -> tuple[Augmentation, Augmentation]:
    """SimCLR's two views, drawn alike."""
    return varied(options, blur=0.5), varied(options, blur=0.5)


def uneven_pair(options: ViewOptions) -> tuple[Augmentation, Augmentation]:
    """BYOL's two views: one always blurred, one seldom, but now and then solarised."""
    return varied(options, blur=1.0), varied(options, blur=0.1, solarise=0.2)


class ManyViews(View):
    """Makes ``image`` (B, V, C, H, W) of a canvas, and ``locals`` (B, L, C, h, w) where small crops are asked for. In
    evaluation the views are drawn the same every time, and ``plain`` (B, C, H, W) is the picture itself.

    Args:
        pipeline: of the model, an :class:`ImagePipeline`.
        seed: of the run.
        views: one transform a view.
        crops: one transform a small crop.
        size: (h, w) of these in pixels.
    """

    def __init__(
        self,
        pipeline: Any,
        seed: int,
        views: Sequence[Augmentation],
        crops: Sequence[Augmentation] = (),
        size: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__(pipeline, seed)
        self.makers = {VIEWS: [ImagePipeline(pipeline.input, view) for view in views]}
        if crops:
            small = dataclasses.replace(pipeline.input, size=(pipeline.input.size[0], *size))
            self.makers[LOCALS] = [ImagePipeline(small, crop) for crop in crops]

    def augment(self, batch: Batch, draws: Draws) -> Batch:
        made = {
            key: torch.stack(
                [maker.augment(batch, Within(draws, f"{key} {n}"))["image"] for n, maker in enumerate(makers)], dim=1
            )
            for key, makers in self.makers.items()
        }
        return {**batch, **made}

    def unvaried(self, batch: Batch, draws: Draws) -> Batch:
        """Views that differ are what is learnt from, whatever else is left alone."""
        return self.augment(batch, draws)

    def prepare(self, batch: Batch) -> Batch:
        made = self.augment(batch, HashDraws(self.seed ^ EVALUATION, 0, batch["index"]))
        return {**made, PLAIN: self.pipeline.prepare(batch)["image"]}


@dataclass(frozen=True)
class Within:
    """Draws whose streams are apart from those of other names: one image, several independent views."""

    draws: Draws
    name: str

    def uniform(self, stream: str, size: int) -> Tensor:
        """See :class:`zoo.protocols.Draws`."""
        return self.draws.uniform(f"{self.name}/{stream}", size)
