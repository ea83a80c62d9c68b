"""A masked autoencoder for backbones that need whole images, convolutional ones above all.

Squares of the image are replaced by a learned colour, the backbone sees the whole of it, and a light convolutional
decoder on its last map rebuilds what was hidden: SimMIM (Xie et al., CVPR 2022, arXiv:2111.09886) with the target of
pixels, and the dense form of the fully convolutional masked autoencoder (Woo et al., "ConvNeXt V2", CVPR 2023,
arXiv:2301.00808). B images, N squares, P values of a square.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zoo.objectives import check_share, read_options
from zoo.protocols import Batch
from zoo_registry.errors import UsageError
from zoo_vision.objectives.conv_decoder import ConvDecoder, check_decoder
from zoo_vision.objectives.keyed import KEY, KeyedView, check_crop, shuffled
from zoo_vision.objectives.pixels import patchify, unpatchify
from zoo_vision.objectives.rebuilding import RebuildingTask

SQUARES = 8  # in the shorter side, where the user does not say


@dataclass(frozen=True)
class MaskedConvOptions:
    """Settings of the objective.

    Attributes:
        ratio: share of the squares that are hidden.
        square: its side in pixels; 0: an eighth of the image's shorter side.
        width: of the decoder's first map, a multiple of 16.
        crop: smallest share of a picture's area that is shown.
    """

    ratio: float = 0.6
    square: int = 0
    width: int = 256
    crop: float = 0.5

    def __post_init__(self) -> None:
        check_share("ratio", self.ratio)
        check_crop(self.crop)
        check_decoder(self.width)
        if self.square < 0:
            raise UsageError(f"square is {self.square} pixels.", "Give 0 (choose for me) or more.")


def build_masked_conv(backbone: Any, pipeline: Any, config: Any) -> MaskedConvTask:
    """See :class:`MaskedConvTask`."""
    return MaskedConvTask(backbone, pipeline.input, read_options(MaskedConvOptions, config))


def masked_conv_view(pipeline: Any, config: Any) -> KeyedView:
    """Crops and flips, and keys to choose squares by."""
    return KeyedView(pipeline, config.seed, read_options(MaskedConvOptions, config).crop)


class MaskedConvTask(RebuildingTask):
    """A backbone with the layout ``grid``, and a decoder; loss per hidden square. A rest of the image that makes no
    square is never hidden.

    Raises:
        UsageError: the backbone gives no map; an image is one square.
    """

    def __init__(self, backbone: Any, input: Any, options: MaskedConvOptions) -> None:
        channels, height, width = input.size
        side = options.square or max(1, min(height, width) // SQUARES)
        count = (height // side) * (width // side)
        if count < 2:
            raise UsageError(
                f"An image of {width}x{height} has not two squares of {side} pixels, to hide one of.",
                "Give a smaller -O square=N, or a larger --size.",
            )
        super().__init__(backbone, input, (count, channels * side * side))
        self.square = (side, side)
        self.hidden = min(max(round(count * options.ratio), 1), count - 1)
        self.colour = nn.Parameter(torch.zeros(channels))  # at first the data's mean
        self.decoder = ConvDecoder(backbone, input, options.width, "The objective masked_conv")

    def target(self, batch: Batch) -> Tensor:
        """(B, N, P) pixels of each square."""
        return patchify(batch["image"].float(), self.square)

    def rebuild(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        image = batch["image"]
        chosen = shuffled(batch[KEY], "masked_conv", len(self.mean_target))[:, : self.hidden]
        hidden = torch.zeros(len(image), len(self.mean_target), dtype=torch.bool, device=image.device)
        hidden = hidden.scatter_(1, chosen, True)
        squares = patchify(image, self.square)
        colour = self.colour.to(image.dtype).repeat(squares.shape[2] // len(self.colour))
        spoilt = unpatchify(torch.where(hidden[..., None], colour, squares), self.square, image)
        tokens = self.backbone({"image": spoilt}, ("grid",)).tokens
        return patchify(self.decoder(tokens), self.square), hidden, spoilt

    def image_of(self, batch: Batch, guess: Tensor, counted: Tensor) -> Tensor:
        """Seen squares as they are."""
        squares = torch.where(counted[..., None], guess, patchify(batch["image"].float(), self.square))
        return unpatchify(squares, self.square, batch["image"])
