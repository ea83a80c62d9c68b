"""From the labels people write to class ids and numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from zoo.data.items import shorten
from zoo_registry.errors import DataError, UsageError

TEXT_TASKS = ("token-classification", "question-answering", "embedding", "generation")
AUDIO_TASKS = ("transcription", "frame-classification", "speaker-verification")
TASKS = ("classification", "multi-label", "regression", *TEXT_TASKS, *AUDIO_TASKS)

NOTHING = "none"
"""The class of a frame that is in no event; its id is 0."""


def natural_key(name: str) -> tuple[Any, ...]:
    """Sorts as people do: case aside, runs of digits by their value (``2 < 10``)."""
    parts = re.split(r"(\d+)", name.casefold())
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part), name


def decide_task(values: Iterable[Any], forced: str | None = None) -> str:
    """The task that raw labels (strings, numbers, lists) stand for, or the forced one.

    Lists and ``a|b`` mean multi-label; numbers, one of them no whole number, mean regression; else classification. The
    tasks of :data:`TEXT_TASKS` and :data:`AUDIO_TASKS` do not follow from labels but from the layout of the data.

    Raises:
        UsageError: the forced task is none of :data:`TASKS`.
    """
    if forced is not None:
        if forced not in TASKS:
            raise UsageError(f"There is no task {forced!r} for labelled data.", f"The tasks are {', '.join(TASKS)}.")
        return forced
    values = [value for value in values if not is_missing(value)]
    if any(isinstance(value, list | tuple) or (isinstance(value, str) and "|" in value) for value in values):
        return "multi-label"
    numbers = [as_number(value) for value in values]
    if numbers and all(number is not None for number in numbers):
        return (
            "regression" if any(number != int(number) for number in numbers if number is not None) else "classification"
        )
    return "classification"


def is_missing(value: Any) -> bool:
    """True for None, an empty string and not-a-number; an empty list is a row without classes, which is fine."""
    return (
        value is None
        or (isinstance(value, str) and not value.strip())
        or (isinstance(value, float) and math.isnan(value))
    )


def as_number(value: Any) -> float | None:
    """A finite float, or None where the value is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def class_name(value: Any) -> str:
    """One spelling per class: ``1``, ``1.0`` and ``" 1 "`` are the same."""
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    return str(value).strip()


def class_names(value: Any) -> list[str]:
    """The classes of one multi-label value: a list, or text separated by ``|``."""
    parts = value if isinstance(value, list | tuple) else class_name(value).split("|")
    return list(dict.fromkeys(name for name in map(class_name, parts) if name))


def encode(values: Sequence[Any], where: Sequence[str], task: str, labels: Sequence[str], split: str) -> list[Any]:
    """Class ids (classification, speaker-verification), lists of them (multi-label: a sample's classes;
    token-classification: one a word), ``(start, end, class id)`` of each event (frame-classification), floats
    (regression; embedding with scores), answers and transcripts as they are (question-answering, transcription), zeros
    (generation).

    Args:
        where: what each value belongs to, for messages.
        labels: class names in id order; unused where labels are no classes.

    Raises:
        DataError: a class that is not in ``labels``, or text where a number must stand.
    """
    if task in ("question-answering", "generation", "transcription"):
        return list(values)
    if task in ("regression", "embedding"):
        # Pairs that simply belong together have the label 0, and not a similarity of 0.0.
        if task == "embedding" and all(value == 0 and isinstance(value, int) for value in values):
            return list(values)
        return [_number(value, place) for value, place in zip(values, where, strict=True)]
    ids = {name: number for number, name in enumerate(labels)}

    def look_up(name: str, place: str) -> int:
        if name not in ids:
            shown = ", ".join(labels[:10]) + (", ..." if len(labels) > 10 else "")
            raise DataError(
                f"The {split} split has the label {shorten(name)!r} ({place}), which no training sample has.",
                f"The training labels are {shown}; correct it or add training samples.",
            )
        return ids[name]

    pairs = list(zip(values, where, strict=True))
    if task == "token-classification":
        return [[look_up(tag, place) for tag in tags] for tags, place in pairs]
    if task == "frame-classification":
        return [[(start, end, look_up(name, place)) for start, end, name in events] for events, place in pairs]
    if task == "multi-label":
        return [[look_up(name, place) for name in class_names(value)] for value, place in pairs]
    return [look_up(class_name(value), place) for value, place in pairs]


def _number(value: Any, place: str) -> float:
    number = as_number(value)
    if number is None:
        raise DataError(
            f"The label {shorten(str(value))!r} ({place}) is no number.", "Correct it, or use --task classification."
        )
    return number
