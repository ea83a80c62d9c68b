"""Shapes in an animal's own coordinates (x right, y down, a head has radius 1), listed from back to front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

Points = Sequence[tuple[float, float]]
Colour = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A filled outline, or a line where ``width`` is given.

    Attributes:
        points: (n, 2) outline.
        paint: ``"coat"`` or ``"second"`` (the animal's two furs), or a plain colour.
        light: factor on the paint's brightness.
        rim: how much darker the fur gets towards the outline, 0..1.
        tufts: how far single hairs reach over the outline, in head radii.
        width: of the line, in head radii.
        framed: whether the picture is composed around this shape.
    """

    points: np.ndarray
    paint: str | Colour
    light: float = 1.0
    rim: float = 0.3
    tufts: float = 0.0
    width: float | None = None
    framed: bool = True


def smooth(points: Points, steps: int = 8) -> np.ndarray:
    """A closed Catmull-Rom curve through ``points``: (n * steps, 2)."""
    p = np.asarray(points, float)
    t = np.linspace(0, 1, steps, endpoint=False)[:, None, None]
    before, after, beyond = np.roll(p, 1, 0), np.roll(p, -1, 0), np.roll(p, -2, 0)
    curve = 0.5 * (
        2 * p
        + (after - before) * t
        + (2 * before - 5 * p + 4 * after - beyond) * t**2
        + (3 * p - before - 3 * after + beyond) * t**3
    )
    return curve.transpose(1, 0, 2).reshape(-1, 2)


def symmetric(right: Points) -> np.ndarray:
    """A smooth closed curve from its right half, given from the top to the bottom of the middle line."""
    left = [(-x, y) for x, y in reversed(right) if x > 0]
    return smooth([*right, *left])


def ellipse(x: float, y: float, rx: float, ry: float, angle: float = 0.0) -> np.ndarray:
    turn = np.linspace(0, 2 * math.pi, 28, endpoint=False)
    return rotated(np.stack([np.cos(turn) * rx, np.sin(turn) * ry], 1), angle) + (x, y)


def pointed(start: tuple[float, float], tip: tuple[float, float], end: tuple[float, float], bulge: float) -> np.ndarray:
    """A triangle with a sharp ``tip`` and sides that bow outwards by ``bulge``."""
    t = np.linspace(0, 1, 8)[:, None]
    a, b, c = (np.asarray(point, float) for point in (start, tip, end))
    middle = (a + b + c) / 3

    def side(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        control = (p + q) / 2 + bulge * ((p + q) / 2 - middle)
        return (1 - t) ** 2 * p + 2 * t * (1 - t) * control + t**2 * q

    return np.concatenate([side(a, b), side(b, c)])


def path(points: Points, steps: int = 8) -> np.ndarray:
    """An open smooth line through ``points``."""
    first, last = points[0], points[-1]
    return smooth([first, *points, last, last, first], steps)[steps : steps * len(points) + 1]


def ribbon(points: Points, widths: Sequence[float]) -> np.ndarray:
    """An open smooth line thickened to ``widths`` (diameters from its start to its end): tails, legs, necks."""
    line = path(points)
    along = np.gradient(line, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], 1) / (np.linalg.norm(along, axis=1, keepdims=True) + 1e-9)
    half = np.interp(np.linspace(0, 1, len(line)), np.linspace(0, 1, len(widths)), widths)[:, None] / 2
    angle = math.atan2(*along[-1][::-1])
    turn = np.linspace(math.pi / 2, -math.pi / 2, 7)[1:-1, None] + angle
    cap = line[-1] + half[-1] * np.concatenate([np.cos(turn), np.sin(turn)], 1)
    return np.concatenate([line + normal * half, cap, (line - normal * half)[::-1]])


def rotated(points: np.ndarray, angle: float) -> np.ndarray:
    cos, sin = math.cos(angle), math.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]])


def placed(
    shapes: Sequence[Shape], *, x: float = 0.0, y: float = 0.0, scale: float = 1.0, angle: float = 0.0
) -> list[Shape]:
    """``shapes`` turned by ``angle`` (radians), scaled and moved."""
    return [
        replace(
            shape,
            points=rotated(shape.points, angle) * scale + (x, y),
            width=None if shape.width is None else shape.width * scale,
            tufts=shape.tufts * scale,
        )
        for shape in shapes
    ]
