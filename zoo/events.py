"""Events in recordings: frames to events and back, and how many of them are found. Imports no torch."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

COLLAR = 0.2
"""Seconds by which a start or an end may be off."""
SHARE = 0.2
"""Share of an event's length by which its end may be off, where that is more."""
ROUNDING = 1e-6
"""Seconds that must not decide: times of frames are products of floats."""


@dataclass(frozen=True)
class Event:
    """Something that is heard for a while.

    Attributes:
        start, end: in seconds.
        kind: class id, above 0.
        first, stop: the frames it was found in.
    """

    start: float
    end: float
    kind: int
    first: int = 0
    stop: int = 0


def events_of(classes: np.ndarray, frame_seconds: float) -> list[Event]:
    """Runs of frames (N,) of one class, but 0, in order."""
    ends = np.flatnonzero(np.diff(classes, append=-1) != 0) + 1
    starts = np.concatenate([np.zeros(1, np.int64), ends])[:-1]
    return [
        Event(float(first * frame_seconds), float(stop * frame_seconds), int(classes[first]), int(first), int(stop))
        for first, stop in zip(starts, ends, strict=True)
        if classes[first] > 0
    ]


def frames_of(events: Sequence[Event], frames: int, frame_seconds: float) -> np.ndarray:
    """(frames,) the class whose event covers the middle of each frame, 0 where none does; of several the last."""
    middle = (np.arange(frames) + 0.5) * frame_seconds
    classes = np.zeros(frames, np.int64)
    for event in events:
        classes[(middle >= event.start) & (middle < event.end)] = event.kind
    return classes


def count_events(given: Sequence[Event], wanted: Sequence[Event], classes: int) -> np.ndarray:
    """(classes, 3) events right, given and wanted, as in the event-based figures of Mesaros et al., "Metrics for
    Polyphonic Sound Event Detection", 2016: right with the same class, the start within :data:`COLLAR`, the end within
    that or :data:`SHARE` of the true length. Each event pairs with one at most, so that as many as can be are right."""
    counts = np.zeros((classes, 3), np.int64)
    for column, events in ((1, given), (2, wanted)):
        for event in events:
            counts[event.kind, column] += 1
    for kind in range(1, classes):
        mine = sorted((event for event in given if event.kind == kind), key=_start)
        counts[kind, 0] = _most_pairs([_fitting(mine, event) for event in wanted if event.kind == kind])
    return counts


def _fitting(given: Sequence[Event], wanted: Event) -> list[int]:
    """Which of the events, in the order of their starts, begin and end near enough."""
    first = bisect_left(given, wanted.start - COLLAR - ROUNDING, key=_start)
    stop = bisect_right(given, wanted.start + COLLAR + ROUNDING, key=_start)
    late = max(COLLAR, SHARE * (wanted.end - wanted.start)) + ROUNDING
    return [place for place in range(first, stop) if abs(given[place].end - wanted.end) <= late]


def _start(event: Event) -> float:
    return event.start


def _most_pairs(fits: Sequence[Sequence[int]]) -> int:
    """The most pairs of a row with one of the places that fit it, each place in one pair (augmenting paths, Berge,
    1957)."""
    row_of: dict[int, int] = {}
    place_of: dict[int, int] = {}
    for row in range(len(fits)):
        came: dict[int, int] = {}
        if (free := _free_place(fits, row, row_of, came)) is None:
            continue
        place: int | None = free
        while place is not None:  # every row on the way moves to the place that was reached from it
            mover = came[place]
            left = place_of.get(mover)
            row_of[place], place_of[mover] = mover, place
            place = left
    return len(row_of)


def _free_place(fits: Sequence[Sequence[int]], row: int, row_of: dict[int, int], came: dict[int, int]) -> int | None:
    """A place in no pair that a chain of moves from ``row`` leads to; ``came`` notes which row reached each."""
    waiting = [row]
    for one in waiting:
        for place in fits[one]:
            if place not in came:
                came[place] = one
                if place not in row_of:
                    return place
                waiting.append(row_of[place])
    return None
