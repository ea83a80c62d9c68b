"""A masked autoencoder (He et al., "Masked autoencoders are scalable vision learners", CVPR 2022, arXiv:2111.06377).

The backbone sees a quarter of an image's patches and nothing else; a light Transformer rebuilds the others. B images, N
patches, K visible ones, P values of a patch, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from zoo.objectives import check_share, read_options
from zoo.protocols import Batch
from zoo_registry.errors import UsageError
from zoo_vision.objectives.keyed import KEY, KeyedView, check_crop, shuffled
from zoo_vision.objectives.pixels import patchify, unpatchify
from zoo_vision.objectives.rebuilding import RebuildingTask

HEAD_WIDTH = 32


@dataclass(frozen=True)
class MaeOptions:
    """Settings of the objective.

    Attributes:
        ratio: share of the patches that are hidden.
        normalise: whether a patch is rebuilt up to its own mean and standard deviation, which teaches more.
        width: of the decoder, a multiple of 32.
        layers: of the decoder.
        crop: smallest share of a picture's area that is shown.
    """

    ratio: float = 0.75
    normalise: bool = True
    width: int = 256
    layers: int = 4
    crop: float = 0.2

    def __post_init__(self) -> None:
        check_share("ratio", self.ratio)
        check_crop(self.crop)
        if not isinstance(self.normalise, bool):
            raise UsageError(f"normalise is {self.normalise!r}.", "Give true or false.")
        if self.layers < 1 or self.width < HEAD_WIDTH or self.width % HEAD_WIDTH:
            raise UsageError(
                f"A decoder of {self.layers} layers of width {self.width} cannot be made.",
                f"Give one layer or more, and a width that is a multiple of {HEAD_WIDTH}.",
            )


def build_mae(backbone: Any, pipeline: Any, config: Any) -> MaeTask:
    """See :class:`MaeTask`."""
    return MaeTask(backbone, pipeline.input, read_options(MaeOptions, config))


def mae_view(pipeline: Any, config: Any) -> KeyedView:
    """Crops and flips, and keys to choose patches by."""
    return KeyedView(pipeline, config.seed, read_options(MaeOptions, config).crop)


class MaeTask(RebuildingTask):
    """A backbone that is :class:`zoo.protocols.PatchMaskable`, and a decoder; loss per hidden patch.

    Raises:
        UsageError: an image is one patch.
    """

    def __init__(self, backbone: Any, input: Any, options: MaeOptions) -> None:
        self.patch = backbone.patch_size
        rows, columns = (side // patch for side, patch in zip(input.size[1:], self.patch, strict=True))
        count, values = rows * columns, input.size[0] * self.patch[0] * self.patch[1]
        if count < 2:
            raise UsageError(
                f"An image is one patch of {self.patch[1]}x{self.patch[0]} pixels, of which none can be hidden.",
                "Give a larger --size.",
            )
        super().__init__(backbone, input, (count, values))
        self.options = options
        self.kept = min(max(round(count * (1 - options.ratio)), 1), count - 1)
        self.decoder = PatchDecoder(backbone.dim, (rows, columns), values, options.width, options.layers)

    def target(self, batch: Batch) -> Tensor:
        """(B, N, P) pixels of each patch, or their distance from its mean in its standard deviations."""
        patches = patchify(batch["image"].float(), self.patch)
        if not self.options.normalise:
            return patches
        mean, spread = _statistics(patches)
        return (patches - mean) / spread

    def rebuild(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        image = batch["image"]
        order = shuffled(batch[KEY], "mae", len(self.mean_target))
        visible = order[:, : self.kept]
        hidden = torch.ones_like(order, dtype=torch.bool).scatter_(1, visible, False)
        guess = self.decoder(self.backbone.encode_visible(image, visible), visible)
        blanked = patchify(image, self.patch).masked_fill(hidden[..., None], 0.0)
        return guess, hidden, unpatchify(blanked, self.patch, image)

    def image_of(self, batch: Batch, guess: Tensor, counted: Tensor) -> Tensor:
        """Visible patches as they are; hidden ones with the true mean and standard deviation, where they were rebuilt
        up to these."""
        patches = patchify(batch["image"].float(), self.patch)
        if self.options.normalise:
            mean, spread = _statistics(patches)
            guess = guess * spread + mean
        return unpatchify(torch.where(counted[..., None], guess, patches), self.patch, batch["image"])


def _statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    return patches.mean(dim=2, keepdim=True), (patches.var(dim=2, keepdim=True) + 1e-6).sqrt()


class PatchDecoder(nn.Module):
    """Transformer blocks over the encoded visible patches at their places and a learned vector at all others.

    Args:
        dim: D of what comes in.
        grid: (rows, columns) of all N patches.
        values: P.
        width: of the blocks.
        layers: number of blocks.
    """

    places: Tensor

    def __init__(self, dim: int, grid: tuple[int, int], values: int, width: int, layers: int) -> None:
        super().__init__()
        # Backbones that normalise after pooling give tokens of any scale.
        self.entry = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, width))
        self.hidden = nn.Parameter(torch.zeros(width))
        self.register_buffer("places", places(*grid, width), persistent=False)
        self.blocks = nn.Sequential(*[Block(width, width // HEAD_WIDTH, qkv_bias=True) for _ in range(layers)])
        self.exit = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, values))
        nn.init.normal_(self.hidden, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor, visible: Tensor) -> Tensor:
        """tokens (B, prefix + K, D) and places (B, K) int64 of the last K -> (B, N, P)."""
        entered = self.entry(tokens)
        prefix, patches = entered.tensor_split([tokens.shape[1] - visible.shape[1]], dim=1)
        everywhere = self.hidden.to(patches.dtype).expand(len(tokens), len(self.places), -1)
        at = visible[..., None].expand_as(patches)
        whole = everywhere.scatter(1, at, patches) + self.places
        found = self.blocks(torch.cat([prefix.to(whole.dtype), whole], dim=1))
        guess: Tensor = self.exit(found[:, prefix.shape[1] :])
        return guess


def places(rows: int, columns: int, width: int) -> Tensor:
    """(rows * columns, width) sines and cosines: half of the width tells the row, half the column."""
    quarter = width // 4
    rates = 10_000.0 ** -(torch.arange(quarter) / quarter)
    down, across = torch.arange(rows)[:, None] * rates, torch.arange(columns)[:, None] * rates
    parts = [
        down.sin()[:, None].expand(-1, columns, -1),
        down.cos()[:, None].expand(-1, columns, -1),
        across.sin()[None].expand(rows, -1, -1),
        across.cos()[None].expand(rows, -1, -1),
    ]
    return torch.cat(parts, dim=2).flatten(0, 1)
