"""How the user's recordings shape the input contract: how long they are, and what rate they have. Reads file headers
only, and imports no torch."""

from __future__ import annotations

import dataclasses
import io
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import soundfile

from zoo.console import say
from zoo_registry.errors import DataError
from zoo_registry.specs import InputSpec

LOOKED_AT = 2_000
LOWEST_RATE = 8_000
COVERED = 0.98
"""Share of the recordings that fit into one window whole."""

NEAT = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 15.0, 20.0, 30.0)


def fit_seconds(input: InputSpec, inputs: Iterable[Any]) -> InputSpec:
    """The contract with windows as long as nearly all recordings, and never longer than its own.

    Raises:
        DataError: none of the recordings that were looked at can be read.
    """
    seconds, _ = _looked_at(inputs)
    fitted = dataclasses.replace(input, seconds=_window(seconds, input.seconds))
    _say(fitted, seconds)
    return fitted


def fit_rate_and_seconds(input: InputSpec, inputs: Iterable[Any]) -> InputSpec:
    """:func:`fit_seconds`, and the rate of the recordings where all of it lies below the contract's: a network that has
    not heard any sound yet need not learn that the upper bands are empty.

    Raises:
        DataError: none of the recordings that were looked at can be read.
    """
    seconds, rates = _looked_at(inputs)
    rate = min(input.rate, max(LOWEST_RATE, int(rates.max())))
    fitted = dataclasses.replace(input, rate=rate, seconds=_window(seconds, input.seconds))
    _say(fitted, seconds)
    return fitted


def _window(seconds: np.ndarray, most: float) -> float:
    """The first neat length that covers :data:`COVERED` of the recordings, but no more than ``most`` (0: no limit)."""
    wanted = float(np.quantile(seconds, COVERED, method="inverted_cdf"))
    neat = next((length for length in NEAT if length >= wanted), NEAT[-1])
    return min(neat, most) if most else neat


def _say(fitted: InputSpec, seconds: np.ndarray) -> None:
    say(
        f"sound: windows of {fitted.seconds:g} s at {fitted.rate:,} Hz, from clips of {seconds.min():.2g} to "
        f"{seconds.max():.2g} s"
    )


def _looked_at(inputs: Iterable[Any]) -> tuple[np.ndarray, np.ndarray]:
    """(seconds, rates) of up to :data:`LOOKED_AT` recordings, spread evenly; what cannot be read is left to whoever
    decodes it, who counts it."""
    items = list(inputs)
    places = np.unique(np.linspace(0, max(len(items) - 1, 0), min(len(items), LOOKED_AT)).astype(int))
    facts = list(itertools.chain.from_iterable(_facts(items[place]) for place in places))
    if not facts:
        raise DataError(
            f"None of the {len(places):,} recordings looked at can be read.", "Give WAV, FLAC, OGG or MP3 files."
        )
    seconds, rates = zip(*facts, strict=True)
    return np.array(seconds), np.array(rates)


def _facts(item: Any) -> list[tuple[float, int]]:
    """[(seconds, rate)] of one raw item as :func:`zoo.sounds.open_sound` takes it; none where it holds no sound."""
    if isinstance(item, Mapping) and "array" in item:
        rate, length = int(item["sampling_rate"]), np.shape(item["array"])[-1]
        return [(length / rate, rate)] if length and rate > 0 else []
    start, end = 0.0, None
    if isinstance(item, Mapping):
        start, end = float(item.get("start") or 0.0), item.get("end")
        item = item.get("bytes") or item.get("path")
    try:
        about = soundfile.info(io.BytesIO(item) if isinstance(item, bytes) else str(item))
    except (OSError, RuntimeError):  # soundfile's own errors are RuntimeErrors
        return []
    length = min(about.duration, float(end) if end is not None else about.duration) - start
    return [(length, about.samplerate)] if length > 0 else []
