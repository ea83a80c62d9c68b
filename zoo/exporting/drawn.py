"""Made-up pictures, texts and sounds, for models that come without data of their own: varied enough that no two are
alike to a network, and the same every time."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from zoo_registry.errors import UsageError

COLOURS = ("red", "green", "blue", "yellow", "black", "white", "grey", "brown")
THINGS = ("a cat", "a dog", "two houses", "an old car", "a bridge over a river", "some flowers", "a child", "a tree")
PLACES = ("", " in the snow", " by the sea", " at night, seen from far away", " in an empty street of a small town")
RATE = 16_000


def drawn(modality: str, count: int) -> list[Any]:
    """``count`` raw items of a modality.

    Raises:
        UsageError: nothing of it can be drawn.
    """
    draw: Callable[[np.random.Generator, int], Any] | None
    draw = {"image": _picture, "text": _text, "audio": _sound}.get(modality)
    if draw is None:
        raise UsageError(
            f"There are no {modality} inputs to measure the export on.", "Export a run, which has data of its own."
        )
    return [draw(np.random.default_rng([len(modality), number]), number) for number in range(count)]


def _picture(random: np.random.Generator, number: int) -> bytes:
    """A PNG file: a few coarse blots of colour under fine noise."""
    height, width = (int(side) for side in random.integers(64, 320, 2))
    blots = random.integers(0, 256, (int(random.integers(2, 9)), int(random.integers(2, 9)), 3), dtype=np.uint8)
    large = np.asarray(Image.fromarray(blots).resize((width, height), Image.Resampling.BICUBIC), np.float32)
    file = io.BytesIO()
    Image.fromarray((large + random.normal(0, 12, large.shape)).clip(0, 255).astype(np.uint8)).save(file, "png")
    return file.getvalue()


def _text(random: np.random.Generator, number: int) -> str:
    thing, place = (random.choice(words) for words in (THINGS, PLACES))
    return f"a photo of {thing} and something {COLOURS[number % len(COLOURS)]}{place}, number {number}"


def _sound(random: np.random.Generator, number: int) -> dict[str, Any]:
    """One to three seconds of tones that fade, under noise."""
    time = np.arange(int(RATE * random.uniform(1, 3))) / RATE
    tones = sum(np.sin(2 * np.pi * pitch * time) * np.exp(-time * random.uniform(0, 4)) for pitch in _pitches(random))
    return {"array": (0.1 * tones + random.normal(0, 0.01, len(time))).astype(np.float32), "sampling_rate": RATE}


def _pitches(random: np.random.Generator) -> np.ndarray:
    return random.uniform(80, 4000, int(random.integers(1, 5)))
