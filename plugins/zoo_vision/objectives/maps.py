"""The maps that two networks of images make at the same scales: cells that stand for as many pixels, be the two shown
images of one size or not.

B images, N cells of a map, D channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from zoo.evaluating import evaluating
from zoo.protocols import Features
from zoo_registry.errors import UsageError
from zoo_vision.timm_backbone import grid_of

Size = tuple[int, int]


@dataclass(frozen=True)
class Scale:
    """A scale at which student and teacher both have a map: places in ``Features.layers``, (rows, columns), widths."""

    mine: int
    theirs: int
    grid: Size
    their_grid: Size
    dim: int
    their_dim: int

    def of_teacher(self, features: Features) -> Tensor:
        """The teacher's map, resized to the student's cells: (B, N, D) float32."""
        assert features.layers is not None
        found = features.layers[self.theirs].float()
        if self.grid == self.their_grid:
            return found
        square = found.transpose(1, 2).unflatten(2, self.their_grid)
        resized = F.interpolate(square, self.grid, mode="bilinear", align_corners=False, antialias=True)
        return resized.flatten(2).transpose(1, 2)


def common_scales(backbone: Any, teacher: Any) -> dict[str, Scale]:
    """By number of the student's cells, from input to output; empty where one of the two shows no maps. Of several maps
    of one scale the last one counts."""
    try:
        image = backbone.example_inputs(1)["image"]
        with evaluating(backbone):
            shown = backbone({"image": image}, ("pooled", "layers"))
        mine = _by_stride(shown, (image.shape[2], image.shape[3]))
        theirs = _by_stride(teacher(image, layers=True)[0], teacher.size)
    except UsageError:
        return {}
    return {
        str(grid[0] * grid[1]): Scale(place, theirs[stride][0], grid, theirs[stride][1], dim, theirs[stride][2])
        for stride, (place, grid, dim) in mine.items()
        if stride in theirs
    }


def _by_stride(features: Features, size: Size) -> Mapping[int, tuple[int, Size, int]]:
    """Pixels to a cell -> (place among the layers, (rows, columns), channels)."""
    found: dict[int, tuple[int, Size, int]] = {}
    for place, layer in enumerate(features.layers or ()):
        grid = grid_of(layer.shape[1], *size)
        if grid is not None:
            found[round(size[0] / grid[0])] = (place, grid, layer.shape[2])
    return found
