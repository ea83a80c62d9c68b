"""Events of recordings: what is heard from when to when."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from zoo.data.labels import NOTHING
from zoo.data.rows import Rows
from zoo.sound_files import about
from zoo_registry.errors import DataError

TICK = 0.01
"""Seconds that one label of a recording stands for."""

Event = tuple[float, float, str]


def one_per_recording(rows: Rows, notes: list[str]) -> Rows:
    """Rows of one event each as rows of one recording each, in the order in which the recordings come first.

    Events stand in the order of their starts and end with the recording; what is left of it after the last one is an
    event of :data:`zoo.data.labels.NOTHING`, so that the events say how long the recording is. Where events overlap,
    the later one counts.

    Raises:
        DataError: an event that begins after the end of its recording.
    """
    events: dict[str, list[tuple[Event, str]]] = {}
    for path, found, where in zip(rows.inputs, rows.labels or [], rows.where, strict=True):
        events.setdefault(path, []).extend((event, where) for event in found)
    places = dict(zip(reversed(rows.inputs), reversed(rows.where), strict=True))
    joined = Rows([*events], [_whole(path, found) for path, found in events.items()], [places[path] for path in events])
    overlapping = sum(any(a[1] > b[0] for a, b in pairwise(one)) for one in joined.labels or [])
    if overlapping:
        notes.append(f"{overlapping:,} of {len(events):,} recordings have events that overlap: the later one counts")
    return joined


def ticks(events: Sequence[tuple[float, float, int]]) -> np.ndarray:
    """Class ids (n,) int64 of every :data:`TICK` up to the end of the last event: of the event that its middle lies in,
    else 0."""
    count = max((math.ceil(round(end / TICK, 6)) for _, end, _ in events), default=0)
    found = np.zeros(count, np.int64)
    for start, end, number in events:
        first, stop = (max(0, math.ceil(round(second / TICK - 0.5, 6))) for second in (start, end))
        found[first:stop] = number
    return found


def _whole(path: str, found: list[tuple[Event, str]]) -> list[Event]:
    try:
        seconds = about(path)[0]
    except DataError:  # counted and listed with everything else that does not decode
        seconds = math.inf
    for (start, _, name), where in found:
        if start >= seconds:
            raise DataError(
                f"{where}: {name!r} begins at {start:g} s, but {path} is {seconds:.2f} s long.", "Correct the start."
            )
    events = sorted(((start, min(end, seconds), name) for (start, end, name), _ in found), key=lambda event: event[0])
    last = max((end for _, end, _ in events), default=0.0)
    return [*events, (last, seconds, NOTHING)] if last < seconds < math.inf else events
