"""Raw rows: what every kind of source is read into before labels get their ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.data.columns import Columns, is_multi_hot, resolve, split_named
from zoo.data.items import shorten
from zoo.data.labels import is_missing
from zoo.data.layouts import task_items, task_labels
from zoo.data.sound_tables import sound_items, sound_labels
from zoo.data.tables import RawTable
from zoo_registry.errors import DataError

MAX_MISSING = 0.05


@dataclass
class Rows:
    """One split as read.

    Attributes:
        inputs: raw items: paths, stretches of recordings; texts, tuples of texts, lists of words, questions.
        labels: raw labels (text, number, list of classes, tags, answers or events); None where the split has none.
        where: what each row is called in messages.
    """

    inputs: list[Any] = field(default_factory=list)
    labels: list[Any] | None = field(default_factory=list)
    where: list[str] = field(default_factory=list)


@dataclass
class Raw:
    """A source as read.

    Attributes:
        notes: what to tell about the reading.
        root: the folder that everything is relative to.
        task: what the layout means, where it does not take the labels to tell (class folders: classification).
    """

    splits: dict[str, Rows]
    notes: list[str]
    root: Path
    task: str | None = None


def table_rows(
    table: RawTable, columns: Columns, *, modality: str, bases: Sequence[Path], notes: list[str]
) -> dict[str, Rows]:
    """The rows of a table by split; without a split column all of them are ``train``.

    Rows without an input or a label are left out and noted.

    Raises:
        DataError: more than 5 % of the rows are incomplete, no input file exists, or a split or label is malformed.
    """
    labels, skipped = _labels(table, columns), set[int]()
    if modality == "text":
        inputs = task_items(table, columns)
        labels, skipped = task_labels(table, columns, inputs, labels, notes)
    else:
        inputs = [file_of(value, bases) for value in table.columns[columns.input]]
        require_files(table, columns, inputs, bases)
    if modality == "audio":
        inputs = sound_items(table, columns, inputs)
        labels, skipped = sound_labels(table, columns, labels, notes)
    splits: dict[str, Rows] = {}
    missing: list[str] = []
    for row, item in enumerate(inputs):
        if row in skipped:
            continue
        if item is None or (labels is not None and is_missing(labels[row])):
            missing.append(table.where(row))
            continue
        split = split_of_row(table, columns, row)
        rows = splits.setdefault(split, Rows(labels=None if labels is None else []))
        rows.inputs.append(item)
        rows.where.append(table.where(row))
        if rows.labels is not None and labels is not None:
            rows.labels.append(labels[row])
    if missing:
        text = f"{len(missing)} of {len(table)} rows have no input or no label: {', '.join(missing[:5])}"
        text += ", ..." if len(missing) > 5 else ""
        if len(missing) > MAX_MISSING * len(table):
            raise DataError(f"{text}.", "Complete or remove them, or name other columns.")
        notes.append(f"left out: {text}")
    return splits


def file_of(value: Any, bases: Sequence[Path]) -> str | None:
    """The file that a table's value names, relative to the first base that has it; None where it names none."""
    if is_missing(value):
        return None
    # A file that is not there stays in: it is counted and listed with everything else that does not decode.
    return resolve(str(value), bases) or str(bases[0] / str(value))


def require_files(table: RawTable, columns: Columns, inputs: list[Any], bases: Sequence[Path]) -> None:
    """Raise a DataError where none of the files in a table's input column exists."""
    if any(item is not None and Path(item).is_file() for item in inputs):
        return
    first = next((value for value in table.columns[columns.input] if not is_missing(value)), "")
    raise DataError(
        f"No file named in column {columns.input!r} of {table.path} exists: the first is {shorten(str(first), 200)!r}, "
        f"looked for in {', '.join(str(base) for base in bases)}.",
        "Write paths relative to the table's folder, or name another column with --input-column.",
    )


def _labels(table: RawTable, columns: Columns) -> list[Any] | None:
    if not columns.labels:
        return None
    if len(columns.labels) == 1:
        name = columns.labels[0]
        names = table.class_names.get(name)
        return [_named(value, names) for value in table.columns[name]] if names else table.columns[name]
    for name in columns.labels:
        if not is_multi_hot(table.columns[name]):
            raise DataError(
                f"Column {name!r} of {table.path} holds more than zeros and ones.",
                "Several label columns must each say whether a class is there; else name one label column.",
            )
    hot = {
        name: [str(value).strip().casefold() in {"1", "1.0", "true"} for value in table.columns[name]]
        for name in columns.labels
    }
    return [[name for name in columns.labels if hot[name][row]] for row in range(len(table))]


def _named(value: Any, names: Sequence[str]) -> Any:
    if isinstance(value, list):
        return [_named(one, names) for one in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return names[value] if 0 <= value < len(names) else None  # -1 stands for "no label" in published test splits
    return value


def split_of_row(table: RawTable, columns: Columns, row: int) -> str:
    """The split that a row says it is in; ``"train"`` in a table that says nothing.

    Raises:
        DataError: what it says is no split.
    """
    if columns.split is None:
        return "train"
    value = str(table.columns[columns.split][row])
    split = split_named(value)
    if split is None:
        raise DataError(
            f"{table.where(row)}: {shorten(value)!r} in column {columns.split!r} is no split.",
            "Use train, val and test.",
        )
    return split
