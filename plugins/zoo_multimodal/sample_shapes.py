"""The built-in data set ``shapes_captions``: drawn shapes, and sentences that say what is where.

Every picture is drawn from its own seed, so the folder is the same wherever it is made. Which two coloured shapes meet
in a picture of the validation split, no picture of the training split shows: a model that finds them has learnt what
words mean, and no sentences by heart. Each colour, shape, size and place is seen in training, and each coloured shape.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path

import numpy as np

from zoo.data.sample_folder import sample_folder
from zoo_multimodal.sample_shapes_draw import COLOURS, SHAPES, SIDE, picture

SPLITS = {"train": 4000, "val": 100}
"""Pictures, each with one caption."""

ALONE = 0.15
"""Share of the training pictures that show one thing only."""

SIZES = ("small", "large")
SIDEWAYS, UPRIGHT = ("to the left of", "to the right of"), ("above", "below")
NEAR, FAR = SIDE * 0.265, SIDE * 0.735
"""Pixels from the edge to the centres of two things, along the line between them."""


@dataclass(frozen=True)
class Scene:
    """What a picture shows.

    Attributes:
        things: (size, colour, shape) of one or two; of two the first is on the left or above.
        upright: whether two stand one above the other.
        swapped: whether the caption begins with the second.
    """

    things: tuple[tuple[str, str, str], ...]
    upright: bool = False
    swapped: bool = False

    @property
    def caption(self) -> str:
        """A sentence that is true of this picture."""
        phrases = [f"a {' '.join(thing)}" for thing in self.things]
        if len(phrases) == 1:
            return phrases[0]
        relation = (UPRIGHT if self.upright else SIDEWAYS)[self.swapped]
        first, second = reversed(phrases) if self.swapped else phrases
        return f"{first} {relation} {second}"


def scenes(split: str) -> list[Scene]:
    """The scenes of a split, in order: all of the validation split differ in more than the place or size of things."""
    kinds = list(product(COLOURS, SHAPES))
    meetings = list(combinations(kinds, 2))
    order = np.random.default_rng(2021).permutation(len(meetings))
    held, rest = order[: SPLITS["val"]], order[SPLITS["val"] :]
    rng = np.random.default_rng((2021, list(SPLITS).index(split)))
    if split == "val":
        return [_meeting(meetings[number], rng) for number in held]
    found = []
    for _ in range(SPLITS[split]):
        if rng.random() < ALONE:
            found.append(Scene((_sized(kinds[rng.integers(len(kinds))], rng),)))
        else:
            found.append(_meeting(meetings[rest[rng.integers(len(rest))]], rng))
    return found


def draw_scene(scene: Scene, seed: tuple[int, ...]) -> np.ndarray:
    """uint8 (64, 64, 3): a function of its arguments alone."""
    rng = np.random.default_rng(seed)
    return np.asarray(
        picture([(*thing, centre) for thing, centre in zip(scene.things, _centres(scene, rng), strict=True)], rng)
    )


def write_shapes_captions(folder: Path) -> None:
    """Write ``captions.csv`` (path, caption, split) and the pictures it names, 4,000 to train on and 100 to validate.

    The folder appears whole or not at all.

    Raises:
        DataError: ``folder`` holds something already, or cannot be written.
    """
    from PIL import Image

    with sample_folder(folder) as draft, ThreadPoolExecutor() as pool:

        def write(job: tuple[str, Scene, tuple[int, ...]]) -> None:
            path, scene, seed = job
            Image.fromarray(draw_scene(scene, seed)).save(draft / path, compress_level=1)

        rows = [("path", "caption", "split")]
        jobs = []
        for number, split in enumerate(SPLITS):
            (draft / "pictures" / split).mkdir(parents=True)
            for place, scene in enumerate(scenes(split)):
                path = f"pictures/{split}/{place:04d}.png"
                rows.append((path, scene.caption, split))
                jobs.append((path, scene, (number, place)))
        list(pool.map(write, jobs))
        with (draft / "captions.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)


def _meeting(kinds: tuple[tuple[str, str], tuple[str, str]], rng: np.random.Generator) -> Scene:
    """Two coloured shapes in one of the places they can have, described from one of them."""
    first, second = (_sized(kind, rng) for kind in kinds)
    turned, upright, swapped = rng.integers(0, 2, 3).astype(bool).tolist()
    return Scene((second, first) if turned else (first, second), upright, swapped)


def _sized(kind: tuple[str, str], rng: np.random.Generator) -> tuple[str, str, str]:
    return (SIZES[rng.integers(2)], *kind)


def _centres(scene: Scene, rng: np.random.Generator) -> Iterator[tuple[float, float]]:
    """Where things are: far apart along the line that the caption names, nearly level across it."""
    if len(scene.things) == 1:
        yield tuple(rng.uniform(0.28, 0.72, 2) * SIDE)  # type: ignore[misc]
        return
    level = rng.uniform(0.34, 0.66) * SIDE
    for along in (NEAR, FAR):
        place, across = along + rng.uniform(-1.5, 1.5), level + rng.uniform(-3, 3)
        yield (across, place) if scene.upright else (place, across)
