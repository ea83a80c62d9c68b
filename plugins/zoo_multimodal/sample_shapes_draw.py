"""Drawing a thing of a built-in sample: a shape of a colour, with edges as smooth as those of a scaled-down photo."""

from __future__ import annotations

import math
from colorsys import hsv_to_rgb

import numpy as np
from PIL import Image, ImageDraw

SIDE = 64
OVERSAMPLE = 3

RADII = {"small": (5.5, 7.0), "large": (12.0, 14.5)}
"""Pixels from the centre to the farthest point, from and to."""

COLOURS = {
    "red": ((-6, 5), (0.85, 1.0), (0.75, 1.0)),
    "orange": ((24, 32), (0.88, 1.0), (0.92, 1.0)),
    "yellow": ((52, 58), (0.8, 1.0), (0.9, 1.0)),
    "green": ((105, 140), (0.7, 1.0), (0.45, 0.85)),
    "blue": ((212, 235), (0.75, 1.0), (0.65, 1.0)),
    "purple": ((278, 295), (0.6, 0.9), (0.5, 0.8)),
    "white": ((0, 360), (0.0, 0.05), (0.94, 1.0)),
    "black": ((0, 360), (0.0, 0.3), (0.0, 0.1)),
}
"""Hue in degrees, saturation and value, from and to: wide enough for shades, and far apart."""

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")


def picture(things: list[tuple[str, str, str, tuple[float, float]]], rng: np.random.Generator) -> Image.Image:
    """An RGB picture of 64 x 64 pixels.

    Args:
        things: (size, colour, shape, centre in pixels) of each, from back to front.
        rng: of shades, turns, exact sizes and the background.
    """
    image = _background(rng)
    draw = ImageDraw.Draw(image)
    for size, colour, shape, centre in things:
        radius, turn = rng.uniform(*RADII[size]), rng.uniform(-0.35, 0.35)
        ranges = COLOURS[colour]
        hue, saturation, value = (rng.uniform(*one) for one in ranges)
        paint = tuple(round(255 * part) for part in hsv_to_rgb(hue % 360 / 360, saturation, value))
        _draw(draw, shape, np.array(centre) * OVERSAMPLE, radius * OVERSAMPLE, turn, paint)
    small = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32)
    grain = rng.normal(0, rng.uniform(1, 5), small.shape)
    return Image.fromarray(np.clip(small + grain, 0, 255).astype(np.uint8))


def _background(rng: np.random.Generator) -> Image.Image:
    """A dull colour that runs into another: none of the things', nor as bright or dark as white and black."""
    corners = np.empty((2, 2, 3))
    hue, saturation = rng.uniform(0, 1), rng.uniform(0, 0.25)
    for corner in np.ndindex(2, 2):
        corners[corner] = hsv_to_rgb((hue + rng.uniform(-0.08, 0.08)) % 1, saturation, rng.uniform(0.4, 0.65))
    pixels = (corners * 255).astype(np.uint8)
    side = SIDE * OVERSAMPLE
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR)


def _draw(draw: ImageDraw.ImageDraw, shape: str, centre: np.ndarray, radius: float, turn: float, paint: tuple) -> None:  # type: ignore[type-arg]
    x, y = centre
    if shape == "circle":
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=paint)
    elif shape == "ring":
        box = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(box, outline=paint, width=round(0.38 * radius))
    else:
        draw.polygon([(x + radius * px, y + radius * py) for px, py in _outline(shape, turn)], fill=paint)


def _outline(shape: str, turn: float) -> list[tuple[float, float]]:
    """The corners of a shape whose farthest is 1 from the centre, turned by ``turn`` radians."""
    if shape == "cross":
        arm = 0.3
        points = [(arm, -arm), (1 - arm / 6, -arm), (1 - arm / 6, arm), (arm, arm)]
        quarter = [(math.hypot(px, py), math.atan2(py, px)) for px, py in points[1:3]]
        inner = (math.hypot(arm, arm), math.pi / 4)
        polar = [(r, a + k * math.pi / 2) for k in range(4) for r, a in (*quarter, inner)]
    else:
        corners = {"square": 4, "triangle": 3, "star": 10}[shape]
        start = {"square": math.pi / 4}.get(shape, -math.pi / 2)
        radii = (1.0, 0.42) if shape == "star" else (1.0,)
        polar = [(radii[k % len(radii)], start + 2 * math.pi * k / corners) for k in range(corners)]
    return [(r * math.cos(a + turn), r * math.sin(a + turn)) for r, a in polar]
