"""Points to pictures: placed on the canvas, counted by pixel, coloured and laid on a background.

B images, S points, (H, W) pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.protocols import Draws

_HUES = 1023
"""Steps of the hue when it is summed: whole numbers, whose sum does not depend on the order of the points."""
_COUNT = 1 << 40
"""One sum holds both: the points in multiples of this, their hues below."""


def frame(points: Tensor, draws: Draws, height: int, width: int) -> Tensor:
    """How each image lays the plane on its canvas, turned, flipped, scaled and moved: (6, B) a, b, c, d, e, f, so that
    column = a x + b y + c and row = d x + e y + f.

    The longer side of the box around ``points`` (S, 3, B) takes 80 to 115 % of the canvas's shorter one.
    """
    draw = draws.uniform("place", 6)
    angle = (2 * draw[:, 0] - 1) * math.pi / 6
    flip_x, flip_y = (torch.where(draw[:, number] < 0.5, -1.0, 1.0) for number in (1, 2))
    a, b, d, e = flip_x * angle.cos(), -flip_x * angle.sin(), flip_y * angle.sin(), flip_y * angle.cos()
    x, y = points[:, 0], points[:, 1]
    (left, right), (top, bottom) = (a * x + b * y).aminmax(dim=0), (d * x + e * y).aminmax(dim=0)
    extent = torch.maximum(right - left, bottom - top).clamp(min=1e-6)
    scale = (0.8 + 0.35 * draw[:, 3]) * min(height, width) / extent
    # What is left of the canvas beside the attractor is divided at random; what juts out, too.
    c = (width - (right - left) * scale) * draw[:, 4] - left * scale
    f = (height - (bottom - top) * scale) * draw[:, 5] - top * scale
    return torch.stack([a * scale, b * scale, c, d * scale, e * scale, f])


class Counter:
    """Points by pixel, and their mean hue.

    Args:
        framing: (6, B), as from :func:`frame`.
    """

    def __init__(self, framing: Tensor, height: int, width: int) -> None:
        self.framing, self.shape = framing, (framing.shape[1], height, width)
        self.first = torch.arange(framing.shape[1], device=framing.device) * (height * width)
        # The last cell takes the points outside the canvas.
        self.sums = torch.zeros(framing.shape[1] * height * width + 1, dtype=torch.int64, device=framing.device)

    def add(self, points: Tensor) -> None:
        """points: (S, 3, B)."""
        images, height, width = self.shape
        (a, b, c, d, e, f), (x, y, hue) = self.framing, points.unbind(1)
        column, row = a * x + b * y + c, d * x + e * y + f
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        cell = torch.where(inside, row.long() * width + column.long() + self.first, images * height * width)
        self.sums.index_add_(0, cell.view(-1), (hue * _HUES).long().add_(_COUNT).view(-1))

    def result(self) -> tuple[Tensor, Tensor]:
        """Points, and their mean hue in [0, 1], 0 where there are none: two (B, H, W) float32."""
        sums = self.sums[:-1].view(self.shape)
        points = (sums // _COUNT).float()
        return points, (sums % _COUNT).float() / (_HUES * points.clamp(min=1))


def paint(points: Tensor, hue: Tensor, draws: Draws) -> Tensor:
    """Counts and hues (B, H, W) -> (B, 3, H, W) uint8: brightness from the logarithm of the count, colour from a
    palette of the image's own over hue and brightness, on a background of the image's own."""
    light = points.log1p()
    light = light / light.amax((1, 2), keepdim=True).clamp(min=1)
    draw = draws.uniform("palette", 9)
    # Cosine palettes: each channel swings at a frequency and phase of its own.
    phase, swing, drift = (draw[:, part : part + 3, None, None] for part in (0, 3, 6))
    waves = phase + (0.4 + 1.2 * swing) * hue[:, None] + (drift - 0.5) * light[:, None]
    colour = (0.55 + 0.45 * (2 * math.pi * waves).cos()) * (0.35 + 0.65 * light[:, None])
    there = (points / 2).clamp(max=1)[:, None]
    behind = background(draws, points.shape[1], points.shape[2])
    return (255 * torch.lerp(behind, colour, there)).round_().clamp_(0, 255).to(torch.uint8)


def background(draws: Draws, height: int, width: int) -> Tensor:
    """(B, 3, H, W) in [0, 1]: black, or clouds of two colours, or clouds of every colour, of several sizes."""
    draw = draws.uniform("background", 9)
    kind, depth = draw[:, 0, None, None, None], 0.8 * draw[:, 1, None, None, None]
    first, second = (draw[:, part : part + 3, None, None] for part in (2, 5))
    clouds = torch.zeros((), device=draw.device)
    for number, cells in enumerate((2, 5, 13)):
        noise = draws.uniform(f"clouds {cells}", 3 * cells * cells).view(-1, 3, cells, cells)
        clouds = clouds + F.interpolate(noise, (height, width), mode="bilinear", align_corners=True) / (
            2**number * 1.75
        )
    two = torch.lerp(first, second, clouds[:, :1])
    return torch.where(kind < 0.6, two, clouds) * torch.where(kind < 0.25, 0.0, depth)
