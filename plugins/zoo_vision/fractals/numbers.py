"""An image as one number: which data set, which class, which image of it."""

from __future__ import annotations

from torch import Tensor

SEEDS, CLASSES, IMAGES = 1 << 20, 1 << 20, 1 << 22
"""How many there may be of each, so that no two images share a number of 63 bits."""


def pack(seed: int, label: int, image: int) -> int:
    """The number of an image; see :func:`unpack`."""
    return (seed * CLASSES + label) * IMAGES + image


def unpack(number: Tensor) -> tuple[Tensor, Tensor]:
    """number (B,) int64 -> (those of the classes, those of the images): both (B,) int64, both with the seed in them, so
    that other seeds give other systems."""
    return number // IMAGES, number
