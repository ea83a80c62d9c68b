"""LibriSpeech's own layout (Panayotov et al. 2015): ``train-clean-100/SPEAKER/CHAPTER/``, where
``SPEAKER-CHAPTER.trans.txt`` holds a line ``ID TRANSCRIPT`` for each ``ID.flac`` beside it."""

from __future__ import annotations

import re
from pathlib import Path

from zoo.data.columns import split_named
from zoo.data.items import is_item
from zoo.data.labels import natural_key
from zoo.data.rows import Raw, Rows
from zoo.data.sound_tables import left_out
from zoo.data.tables import lines_of, read_text
from zoo.units import clean
from zoo_registry.errors import DataError

TRANSCRIPTS = ".trans.txt"
"""How the names of files with transcripts end."""


def read_librispeech(folder: Path, task: str | None) -> Raw | None:
    """The recordings under a folder with their transcripts, or with their speakers for ``"speaker-verification"``; None
    where no transcripts lie there. Splits are folders whose name begins with a split's (``dev-clean``).

    Raises:
        DataError: there are splits but no training split, a line has no transcript, or the task is for other data.
    """
    files = sorted(folder.rglob(f"*{TRANSCRIPTS}"), key=lambda path: natural_key(str(path)))
    if not files:
        return None
    if task not in (None, "transcription", "speaker-verification"):
        raise DataError(
            f"{folder} holds recordings with transcripts, which are no data for {task}.", "Choose another task."
        )
    task, notes = task or "transcription", list[str]()
    splits: dict[str, Rows] = {}
    for path in files:
        inner = path.relative_to(folder).parts[:-1]
        split = next((found for part in inner if (found := split_named(re.split(r"[-_.]", part)[0]))), "train")
        _read(path, splits.setdefault(split, Rows(labels=[])), task)
    if "train" not in splits:
        raise DataError(f"{folder} has {', '.join(splits)} but no train.", "Put a training folder beside it.")
    if task == "transcription":
        splits = {split: _spoken(rows, notes) for split, rows in splits.items()}
    return Raw(splits, notes, folder, task)


def _read(path: Path, rows: Rows, task: str) -> None:
    recordings = {entry.stem: entry for entry in path.parent.iterdir() if is_item(entry.name, "audio")}
    for number, line in enumerate(lines_of(read_text(path)), start=1):
        name, _, text = line.strip().partition(" ")
        if not name:
            continue
        rows.inputs.append(str(recordings.get(name, path.with_name(f"{name}.flac"))))
        rows.labels.append(clean(text) if task == "transcription" else name.split("-")[0])  # type: ignore[union-attr]
        rows.where.append(f"{path}:{number}")


def _spoken(rows: Rows, notes: list[str]) -> Rows:
    """The rows that have a transcript."""
    labels = rows.labels or []
    empty = {row for row, text in enumerate(labels) if not text}
    left_out(empty, [rows.where[row] for row in sorted(empty)], len(labels), notes)
    kept = [row for row in range(len(labels)) if row not in empty]
    return Rows(*([values[row] for row in kept] for values in (rows.inputs, labels, rows.where)))
