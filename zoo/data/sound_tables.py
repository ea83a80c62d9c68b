"""Tables of recordings: which stretch of a file a row means, and labels that are transcripts, events or speakers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from zoo.data.columns import LABEL_NAMES, Columns, by_name, listed, names_in, plain, recognise, told
from zoo.data.items import shorten
from zoo.data.labels import AUDIO_TASKS, as_number, is_missing
from zoo.data.tables import RawTable
from zoo.units import clean
from zoo_registry.errors import DataError

_TRANSCRIPTS = ("transcript", "transcription", "text", "sentence", "normalized_text", "transcripts", "utterance")
_SPEAKERS = ("speaker", "speaker_id", "spk", "spk_id", "client_id", "voice")
_STARTS = ("start", "start_time", "start_seconds", "start_sec", "start_s", "begin", "begin_time", "onset", "offset")
_ENDS = ("end", "end_time", "end_seconds", "end_sec", "end_s", "stop", "stop_time")
_DURATIONS = ("duration", "dur", "duration_seconds", "duration_sec", "duration_s")
_MOST_EMPTY = 0.5
_REMEDIES = {
    "transcription": "Name the column of the transcripts with --label-column.",
    "frame-classification": "Give each event a row with the recording's path, start, end (in seconds) and label.",
    "speaker-verification": "Name the column of the speakers with --label-column.",
}


def recognise_sound(
    table: RawTable, *, task: str | None, overrides: Mapping[str, str], bases: Sequence[Path], labelled: bool = True
) -> Columns:
    """Find the columns of a table of recordings: as :func:`zoo.data.columns.recognise`, and the times of stretches.

    Without a task, a table with transcripts and no column of classes is for transcription.

    Raises:
        DataError: as there, or the task is forced and the table lacks a column for it; lists the columns there are.
        UsageError: an override of an unknown role.
    """
    times = _times(table, {name for value in overrides.values() for name in names_in(value)})
    rest = {name: values for name, values in table.columns.items() if name not in times.values()}
    label = overrides.get("label") or _label(list(rest), task)
    found = recognise(
        replace(table, columns=rest),
        modality="audio",
        overrides={**overrides, "label": label} if label else overrides,
        bases=bases,
        labelled=labelled and task not in AUDIO_TASKS,
    )
    if task is None and len(found.labels) == 1 and plain(found.labels[0]) in _TRANSCRIPTS:
        task = "transcription"
    lacks_times = task == "frame-classification" and not {"start", "end"} <= times.keys() | _ended(times)
    if labelled and task in AUDIO_TASKS and (not found.labels or lacks_times):
        raise DataError(
            f"{table.path} has no columns for {task}; its columns are {listed(table)}.", _REMEDIES[str(task)]
        )
    if not {"start", "end"} & times.keys():
        times = {}  # how long a whole file is says nothing about a stretch of it
    guessed = told(table, overrides, found.input, found.labels, found.split, more=times)
    start, end, duration = (times.get(role) for role in ("start", "end", "duration"))
    task = task if task in AUDIO_TASKS else None
    return replace(found, guessed=guessed, task=task, start=start, end=end, duration=duration)


def sound_items(table: RawTable, columns: Columns, paths: Sequence[str | None]) -> list[Any]:
    """The items of a table's rows: paths, or ``{"path", "start", "end"}`` where it has columns of times.

    Raises:
        DataError: a time that is no number, with ``file:line``.
    """
    if columns.task == "frame-classification" or not (columns.start or columns.end):
        return list(paths)
    return [
        None if path is None else {"path": path, "start": start, "end": end}
        for path, (start, end) in zip(paths, _stretches(table, columns), strict=True)
    ]


def sound_labels(
    table: RawTable, columns: Columns, values: list[Any] | None, notes: list[str]
) -> tuple[list[Any] | None, set[int]]:
    """(labels of the rows in the terms of the task, or None in a table without; rows that are left out and noted).

    Transcripts are cleaned, and rows without one left out. A row's event is a list of one ``(start, end, name)``, or
    of none where the row names no class.

    Raises:
        DataError: most transcripts are empty, or an event has no times.
    """
    if values is None or columns.task not in ("transcription", "frame-classification"):
        return values, set()
    if columns.task == "transcription":
        texts = ["" if is_missing(value) else clean(str(value)) for value in values]
        empty = {row for row, text in enumerate(texts) if not text}
        return texts, left_out(empty, [table.where(row) for row in sorted(empty)], len(texts), notes)
    events: list[Any] = []
    for row, (value, (start, end)) in enumerate(zip(values, _stretches(table, columns), strict=True)):
        if is_missing(value):
            events.append([])
            continue
        if start is None or end is None or end <= start:
            raise DataError(
                f"{table.where(row)}: the event {shorten(str(value))!r} has no start before its end.",
                "Give the start and the end of each event in seconds.",
            )
        events.append([(start, end, value)])
    return events, set()


def left_out(empty: set[int], where: Sequence[str], total: int, notes: list[str]) -> set[int]:
    """The rows of empty transcripts, which are noted.

    Raises:
        DataError: more than half of all are empty.
    """
    if empty:
        text = f"{len(empty):,} of {total:,} transcripts are empty: {', '.join(where[:5])}"
        text += ", ..." if len(where) > 5 else ""
        if len(empty) > _MOST_EMPTY * total:
            raise DataError(f"{text}.", "Check the column of the transcripts.")
        notes.append(f"left out: {text}")
    return empty


def _label(names: Sequence[str], task: str | None) -> str | None:
    """The column of the labels, where its name tells."""
    if task == "speaker-verification":
        return by_name(names, _SPEAKERS)
    if task == "transcription" or (task is None and not by_name(names, LABEL_NAMES)):
        return next((name for word in _TRANSCRIPTS for name in names if plain(name) == word), None)
    return None


def _times(table: RawTable, taken: set[str]) -> dict[str, str]:
    """The columns of ``start``, ``end`` and ``duration``; an ``offset`` beside an ``onset`` is an end, else a start."""
    columns = {plain(name): name for name in table.columns if name not in taken}
    ends = (*_ENDS, "offset") if "onset" in columns else _ENDS
    found = {}
    for role, words in (("start", _STARTS), ("end", ends), ("duration", _DURATIONS)):
        if (name := next((columns[word] for word in words if word in columns), None)) is not None:
            found[role] = name
    if "end" in found:
        found.pop("duration", None)
    return found


def _ended(times: Mapping[str, str]) -> set[str]:
    return {"end"} if "duration" in times else set()


def _stretches(table: RawTable, columns: Columns) -> list[tuple[float | None, float | None]]:
    """The seconds (from, to) of each row."""
    starts, ends, lengths = (_seconds(table, name) for name in (columns.start, columns.end, columns.duration))
    if columns.duration is not None:
        ends = [
            None if length is None else (start or 0.0) + length for start, length in zip(starts, lengths, strict=True)
        ]
    return list(zip(starts, ends, strict=True))


def _seconds(table: RawTable, name: str | None) -> list[float | None]:
    if name is None:
        return [None] * len(table)
    found: list[float | None] = []
    for row, value in enumerate(table.columns[name]):
        number = None if is_missing(value) else as_number(value)
        if number is None and not is_missing(value):
            raise DataError(
                f"{table.where(row)}: {shorten(str(value))!r} in column {name!r} is no number of seconds.",
                "Give times in seconds, or rename the column if it means something else.",
            )
        found.append(number)
    return found
