"""The data set ``fractals``: which images there are, and of which class. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from zoo.data.generated import Generated
from zoo.data.rows import Raw, Rows
from zoo_registry.errors import UsageError
from zoo_vision.fractals.numbers import CLASSES, IMAGES, SEEDS, pack

MAKER = "zoo_vision.fractals.render:render_fractals"
VERSION = 1
"""Raised whenever the same number would give other pixels, so that caches are not reused."""


def fractals(classes: int, images: int, seed: int) -> Raw:
    """``images`` images of each of ``classes`` systems.

    Args:
        seed: others give other systems; image ``i`` of class ``c`` is a function of (seed, c, i).

    Raises:
        UsageError: fewer than two classes or one image, or more than there are numbers for.
    """
    for name, value, least, most in (
        ("classes", classes, 2, CLASSES),
        ("images", images, 1, IMAGES),
        ("seed", seed, 0, SEEDS - 1),
    ):
        if not least <= value <= most:
            raise UsageError(f"{name} of fractals is {value}.", f"Give a number from {least} to {most:,}.")
    if classes * images < 4:
        raise UsageError(
            f"{classes * images} fractals are too few to train on.", "Give more classes, or images of each."
        )
    places = [(label, image) for label in range(classes) for image in range(images)]
    rows = Rows(
        inputs=[Generated(MAKER, VERSION, pack(seed, label, image)) for label, image in places],
        labels=[f"system {label}" for label, _ in places],
        where=[f"image {image} of system {label}" for label, image in places],
    )
    return Raw({"train": rows}, [], Path("fractals"))
