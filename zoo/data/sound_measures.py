"""How long recordings are, how they were made, and what is said in them: by headers and transcripts alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.data.items import stretch_of
from zoo.sound_files import about
from zoo_registry.errors import DataError

_MEASURED = 2000
"""Recordings whose header is looked at, spread evenly."""


def sound_measures(items: Sequence[Any]) -> dict[str, Any]:
    """``seconds`` (min, median, max, total, ``estimated``: not all were looked at) and ``sound`` (``rates`` and
    ``channels`` with how many recordings have them, ``looked_at``, ``unreadable``)."""
    places = np.unique(np.linspace(0, len(items) - 1, min(len(items), _MEASURED)).astype(int))
    seconds: list[float] = []
    rates, channels = Counter[str](), Counter[str]()
    for place in places:
        try:
            length, rate, count = about(items[place])
        except DataError:  # counted, and named by the run that needs them
            continue
        start, end = stretch_of(items[place])
        seconds.append(max(0.0, min(length, length if end is None else end) - (start or 0.0)))
        rates[str(rate)] += 1
        channels[str(count)] += 1
    low, middle, high = (float(np.quantile(seconds, share)) if seconds else 0.0 for share in (0, 0.5, 1))
    return {
        "seconds": {
            "min": low,
            "median": middle,
            "max": high,
            "total": float(np.sum(seconds)) * len(items) / max(1, len(places)),
            "estimated": len(places) < len(items),
        },
        "sound": {
            "looked_at": len(places),
            "unreadable": len(places) - len(seconds),
            "rates": dict(rates.most_common()),
            "channels": dict(channels.most_common()),
        },
    }


def transcript_measures(transcripts: Sequence[str]) -> dict[str, Any]:
    """``words``, and ``characters`` with how often each occurs, the most frequent first."""
    letters = Counter(letter for text in transcripts for letter in text)
    return {"words": sum(len(text.split()) for text in transcripts), "characters": dict(letters.most_common())}
