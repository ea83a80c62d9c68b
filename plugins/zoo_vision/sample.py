"""The offline sample of ``cats_dogs``: drawn cats and dogs, for machines that reach no data set.

Every picture is drawn from its own seed, so the folder is the same wherever it is made. Only the form tells the
classes apart (:mod:`zoo_vision.sample_animals`): colours, patterns, sizes, places and backgrounds are shared.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from zoo.data.sample_folder import sample_folder
from zoo_vision.sample_animals import KINDS, POSES, animal
from zoo_vision.sample_scene import OVERSAMPLE, backdrop, clutter, fur, paint, photograph, placement

SPLITS = {"train": 240, "val": 80}
"""Pictures per class."""


def draw_picture(kind: str, seed: tuple[int, ...]) -> Image.Image:
    """One RGB picture of a ``"cat"`` or ``"dog"``, 150 to 200 pixels a side: a function of its arguments alone."""
    rng = np.random.default_rng(seed)
    height, width = (int(side) * OVERSAMPLE for side in rng.integers(150, 201, 2))
    image = backdrop(rng, height, width)
    pose = str(rng.choice(POSES, p=[0.34, 0.24, 0.18, 0.24]))
    shapes = animal(kind, pose, rng)
    scale, offset = placement(shapes, rng, height, width)
    paint(image, shapes, fur(rng, height, width), scale, offset, rng.uniform(-1, 1, 2), rng)
    if rng.random() < 0.3:
        draw = ImageDraw.Draw(image)
        for _ in range(int(rng.integers(1, 3))):
            clutter(draw, rng, height, width)
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return photograph(image, rng)


def draw_cats_dogs(folder: Path) -> None:
    """Write ``train/{cat,dog}`` (240 pictures each) and ``val/{cat,dog}`` (80 each) into a new ``folder``.

    The folder appears whole or not at all.

    Raises:
        DataError: ``folder`` holds something already, or cannot be written.
    """
    with sample_folder(folder) as draft:
        _write(draft)


def _write(folder: Path) -> None:
    jobs = []
    for split_id, (split, count) in enumerate(SPLITS.items()):
        for kind_id, kind in enumerate(KINDS):
            (folder / split / kind).mkdir(parents=True)
            jobs += [(folder / split / kind, kind, (split_id, kind_id, i)) for i in range(count)]

    def write(job: tuple[Path, str, tuple[int, ...]]) -> None:
        where, kind, seed = job
        picture, number = draw_picture(kind, seed), seed[-1]
        if number % 20 == 7:
            picture.save(where / f"{kind}_{number:04d}.png")
        else:
            picture.save(where / f"{kind}_{number:04d}.jpg", quality=70 + seed[-1] % 23)

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, jobs))
