"""Tiny photos and the command line in-process, for tests of whole runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from zoo.cli.main import run

TINY = ["--weights", "none", "--size", "32", "--device", "cpu"]


def write_photos(folder: Path, *, train: int = 12, val: int = 6, classes: tuple[str, ...] = ("bar", "dot")) -> Path:
    """Class folders of 40 x 36 pictures: each class has its own stripe direction, under noise."""
    for split, count in (("train", train), ("val", val)):
        for number, name in enumerate(classes):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                rng = np.random.default_rng([number, i, len(split)])
                picture = rng.integers(0, 90, (36, 40, 3))
                stripes = np.arange(36)[:, None] if number % 2 else np.arange(40)[None, :]
                picture += ((stripes + rng.integers(8)) // 4 % 2 * 140)[..., None]
                Image.fromarray(picture.astype(np.uint8)).save(folder / split / name / f"{i}.png")
    return folder


def finetune(data: Path | str, out: Path, *options: str, model: str = "test_resnet") -> int:
    """Exit code of ``zoo finetune`` on the tiny model with random weights."""
    return run(["finetune", model, "--data", str(data), "--output", str(out), *TINY, *options])
