"""A denoising autoencoder (Vincent et al., "Extracting and composing robust features with denoising autoencoders", ICML
2008): Gaussian noise is added to the image, and a light convolutional decoder on the backbone's last map rebuilds the
clean one. Without noise it is a plain autoencoder. B images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo.objectives import read_options
from zoo.protocols import Batch
from zoo_registry.errors import UsageError
from zoo_vision.objectives.conv_decoder import ConvDecoder, check_decoder
from zoo_vision.objectives.keyed import KEY, KeyedView, check_crop, normal
from zoo_vision.objectives.rebuilding import RebuildingTask


@dataclass(frozen=True)
class DenoisingOptions:
    """Settings of the objective.

    Attributes:
        noise: its standard deviation, in those of the normalised image.
        width: of the decoder's first map, a multiple of 16.
        crop: smallest share of a picture's area that is shown.
    """

    noise: float = 0.5
    width: int = 256
    crop: float = 0.5

    def __post_init__(self) -> None:
        check_crop(self.crop)
        check_decoder(self.width)
        if not 0 <= self.noise < math.inf:
            raise UsageError(f"noise is {self.noise}.", "Give 0 (none) or more.")


def build_denoising(backbone: Any, pipeline: Any, config: Any) -> DenoisingTask:
    """See :class:`DenoisingTask`."""
    return DenoisingTask(backbone, pipeline.input, read_options(DenoisingOptions, config))


def denoising_view(pipeline: Any, config: Any) -> KeyedView:
    """Crops and flips, and keys to draw noise from."""
    return KeyedView(pipeline, config.seed, read_options(DenoisingOptions, config).crop)


class DenoisingTask(RebuildingTask):
    """A backbone with the layout ``grid``, and a decoder; loss per image, the mean over its pixels.

    Raises:
        UsageError: the backbone gives no map.
    """

    def __init__(self, backbone: Any, input: Any, options: DenoisingOptions) -> None:
        super().__init__(backbone, input, (1, math.prod(input.size)))
        self.noise = options.noise
        self.decoder = ConvDecoder(backbone, input, options.width, "The objective denoising")

    def target(self, batch: Batch) -> Tensor:
        """(B, 1, C * H * W): all pixels are one part."""
        return batch["image"].float().flatten(1)[:, None]

    def rebuild(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        image = batch["image"]
        noise = normal(batch[KEY], "denoising", image[0].numel()).view(image.shape)
        spoilt = image + self.noise * noise
        guess = self.decoder(self.backbone({"image": spoilt}, ("grid",)).tokens)
        counted = torch.ones(len(image), 1, dtype=torch.bool, device=image.device)
        return guess.flatten(1)[:, None], counted, spoilt

    def image_of(self, batch: Batch, guess: Tensor, counted: Tensor) -> Tensor:
        """The whole guess."""
        return guess.view(batch["image"].shape)
