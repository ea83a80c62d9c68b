"""From the last map of a backbone back to an image. B images, h x w places of the map, D width."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from zoo.evaluating import evaluating
from zoo_registry.errors import UsageError

NARROWEST = 16
GROUP = 8  # channels that are normalised together


class ConvDecoder(nn.Module):
    """Convolutions over the backbone's last map, which is doubled until it has the image's size; the further, the
    narrower. Group normalisation, so that an image does not depend on its micro-batch.

    Args:
        backbone: with the layout ``grid``.
        input: its contract.
        width: channels of the first map, a multiple of 16; each doubling halves them, down to 16.
        by: the objective, for messages.

    Raises:
        UsageError: the backbone gives no map.
    """

    def __init__(self, backbone: Any, input: Any, width: int, by: str) -> None:
        super().__init__()
        dim, self.grid = map_of(backbone, by)
        channels, *self.size = input.size
        layers: list[nn.Module] = [nn.Conv2d(dim, width, 1), *_activated(width)]
        rows, columns = self.grid
        while rows < self.size[0] or columns < self.size[1]:
            narrow = max(width // 2, NARROWEST)
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(width, narrow, 3, padding=1), *_activated(narrow)]
            rows, columns, width = 2 * rows, 2 * columns, narrow
        self.layers = nn.Sequential(*layers)
        self.exit = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (B, h*w, D) -> images (B, C, H, W), normalised as the backbone's inputs."""
        maps = self.layers(tokens.transpose(1, 2).unflatten(2, self.grid))
        if maps.shape[2:] != tuple(self.size):  # strides that are no power of 2
            maps = F.interpolate(maps, size=tuple(self.size), mode="bilinear")
        image: Tensor = self.exit(maps)
        return image


def map_of(backbone: Any, by: str) -> tuple[int, tuple[int, int]]:
    """(D, (h, w)) of the backbone's last map.

    Raises:
        UsageError: it gives none.
    """
    if "grid" in backbone.spec.layouts:
        device = next(backbone.parameters()).device
        inputs = {name: tensor.to(device) for name, tensor in backbone.example_inputs(1).items()}
        with evaluating(backbone):
            features = backbone(inputs, ("grid",))
        if features.tokens is not None and features.grid is not None and len(features.grid) == 2:
            return features.tokens.shape[2], features.grid
    raise UsageError(
        f"{by} cannot use {backbone.spec.name}: it gives no grid (a map of features with rows and columns).",
        "Choose another model: zoo list",
    )


def check_decoder(width: int) -> None:
    """Refuse what is no decoder's width.

    Raises:
        UsageError: not a multiple of 16 above 0.
    """
    if width < NARROWEST or width % NARROWEST:
        raise UsageError(f"A decoder of width {width} cannot be made.", f"Give a multiple of {NARROWEST}.")


def _activated(channels: int) -> list[nn.Module]:
    return [nn.GroupNorm(max(1, channels // GROUP) if channels % GROUP == 0 else 1, channels), nn.GELU()]
