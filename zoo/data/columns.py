"""Which column is the input, which the label: by the user's word, else by name, else by content."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.data.items import EXTENSIONS
from zoo.data.tables import RawTable
from zoo_registry.errors import DataError, UsageError

SPLIT_NAMES = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "dev", "eval"),
    "test": ("test", "testing", "tst"),
}

_FILE_NAMES = ("path", "file", "filename", "file_name", "filepath", "file_path")
_INPUT_NAMES = {
    "image": ("image", "img", "image_path", "img_path", "image_file", "photo", "picture", *_FILE_NAMES, "input"),
    "audio": ("audio", "wav", "clip", "sound", "recording", "audio_path", "speech", *_FILE_NAMES, "input"),
    "text": ("text", "sentence", "content", "document", "review", "message", "comment", "tweet", "utterance", "query",
             "question", "abstract", "body", "title", "input"),
}  # fmt: skip
_LABEL_NAMES = ("label", "labels", "class", "classes", "class_name", "category", "target", "targets", "y", "tag",
                "tags", "output", "intent", "sentiment", "species", "breed", "genre", "emotion", "topic")  # fmt: skip
_SPLIT_COLUMNS = ("split", "subset", "partition", "set", "fold")
_LOOK = 200
"""Rows that content is judged by."""


@dataclass(frozen=True)
class Columns:
    """The roles of a table's columns.

    Attributes:
        input: holds the raw items.
        labels: one column, or several of zeros and ones (multi-label); none in a table without labels.
        split: says which split a row is in, or None.
        guessed: a sentence on what was guessed; empty where the user said it all.
    """

    input: str
    labels: tuple[str, ...]
    split: str | None
    guessed: str


def split_named(name: str) -> str | None:
    """``"train"``, ``"val"`` or ``"test"`` for any usual name of theirs, else None."""
    name = name.strip().casefold()
    return next((split for split, names in SPLIT_NAMES.items() if name in names), None)


def recognise(
    table: RawTable, *, modality: str, overrides: Mapping[str, str], bases: Sequence[Path], labelled: bool = True
) -> Columns:
    """Find the input, label and split columns of a table.

    Args:
        overrides: ``{"input": NAME, "label": NAME or "NAME,NAME,...", "split": NAME}``, each optional.
        bases: folders that relative paths may start from.
        labelled: raise where no label column is found; else ``labels`` is then empty.

    Raises:
        DataError: a named column does not exist, or none can be recognised; lists the columns there are.
        UsageError: an override of an unknown role.
    """
    unknown = sorted(set(overrides) - {"input", "label", "split"})
    if unknown:
        raise UsageError(f"Columns have no role {unknown[0]!r}.", "The roles are input, label and split.")
    given_labels = tuple(name.strip() for name in overrides.get("label", "").split(",") if name.strip())
    for name in filter(None, [overrides.get("input"), *given_labels, overrides.get("split")]):
        _require(table, name)

    split = overrides.get("split") or _find_split(table, {overrides.get("input"), *given_labels})
    taken = {split, *given_labels} - {None}
    source = overrides.get("input") or _find_input(table, modality, bases, taken)
    labels = given_labels or _find_labels(table, source, split)
    if labelled and not labels:
        raise DataError(
            f"{table.path} has no column that looks like labels; its columns are {_list(table)}.",
            "Name it with --label-column (several, separated by commas, for multi-label).",
        )
    guesses = [("input", source, "input" in overrides), ("split", split, "split" in overrides)]
    guesses.insert(1, ("label", ", ".join(labels[:5]) + (", ..." if len(labels) > 5 else ""), bool(given_labels)))
    guessed = ", ".join(f"{role} = {name}" for role, name, given in guesses if name and not given)
    return Columns(source, labels, split, f"columns of {table.path.name}: {guessed}" if guessed else "")


def is_multi_hot(values: Sequence[Any]) -> bool:
    """True if a column holds nothing but zeros and ones (or false and true)."""
    return all(str(value).strip().casefold() in {"0", "1", "0.0", "1.0", "false", "true"} for value in values)


def resolve(value: str, bases: Sequence[Path]) -> str | None:
    """The existing file a table means by ``value``, relative to the first base that has it; None where none does."""
    for base in bases:
        path = os.path.join(base, value)
        if os.path.isfile(path):
            return path
    return None


def _require(table: RawTable, name: str) -> None:
    if name not in table.columns:
        raise DataError(
            f"{table.path} has no column {name!r}; its columns are {_list(table)}.",
            "Name one of them with --input-column, --label-column or --split-column.",
        )


def _list(table: RawTable) -> str:
    return ", ".join(repr(name) for name in table.columns)


def _plain(name: str) -> str:
    return re.sub(r"\W+", "_", name.strip().casefold()).strip("_")


def _by_name(names: Sequence[str], wanted: Sequence[str]) -> str | None:
    """The column with the most telling name: a whole name first, then one that holds a telling word."""
    plain = {name: _plain(name) for name in names}
    for word in wanted:
        if found := [name for name in names if plain[name] == word]:
            return found[0]
    for word in wanted:
        if found := [name for name in names if len(word) > 1 and word in plain[name].split("_")]:
            return found[0]
    return None


def _find_split(table: RawTable, taken: set[str | None]) -> str | None:
    for name in table.columns:
        if name not in taken and _plain(name) in _SPLIT_COLUMNS:
            values = {str(value) for value in table.columns[name]}
            if all(split_named(value) for value in values):
                return name
    return None


def _find_input(table: RawTable, modality: str, bases: Sequence[Path], taken: set[str | None]) -> str:
    names = [name for name in table.columns if name not in taken]
    fits = _content_test(modality, bases)
    fitting = [name for name in names if fits(_sample(table, name))]
    # Content before names: a column "image" of numbers is no image while another one holds paths.
    wanted = _INPUT_NAMES.get(modality, (modality, *_FILE_NAMES, "input"))
    found = _by_name(fitting, wanted)
    if found is None and fitting:
        found = max(fitting, key=lambda name: _mean_length(_sample(table, name)))
    if found is None:
        found = _by_name([name for name in names if _plain(name) not in _LABEL_NAMES], wanted)
    if found is None:
        raise DataError(
            f"{table.path} has no column that looks like {modality} inputs; its columns are {_list(table)}.",
            "Name it with --input-column; paths are relative to the table's folder.",
        )
    return found


def _find_labels(table: RawTable, source: str, split: str | None) -> tuple[str, ...]:
    names = [name for name in table.columns if name not in (source, split)]
    if named := _by_name(names, _LABEL_NAMES):
        return (named,)
    hot = [name for name in names if is_multi_hot(_sample(table, name))]
    if len(hot) > 1:
        return tuple(hot)
    few = [name for name in names if _few_distinct(table.columns[name])]
    return (few[0],) if len(few) == 1 else ()


def _sample(table: RawTable, name: str) -> list[Any]:
    return [value for value in table.columns[name][:_LOOK] if value not in (None, "")]


def _content_test(modality: str, bases: Sequence[Path]) -> Callable[[list[Any]], bool]:
    if modality == "text":
        return lambda values: (
            bool(values) and all(isinstance(value, str) for value in values) and any(map(_wordy, values))
        )
    endings = tuple(EXTENSIONS.get(modality, ()))

    def points_to_items(values: list[Any]) -> bool:
        good = [
            isinstance(value, bytes | dict)
            or (isinstance(value, str) and (value.lower().endswith(endings) if endings else resolve(value, bases)))
            or (isinstance(value, str) and resolve(value, bases) is not None)
            for value in values
        ]
        return bool(values) and sum(map(bool, good)) * 2 > len(values)

    return points_to_items


def _wordy(value: str) -> bool:
    return " " in value.strip() or len(value) > 30


def _mean_length(values: list[Any]) -> float:
    return sum(len(str(value)) for value in values) / max(1, len(values))


def _few_distinct(values: list[Any]) -> bool:
    distinct = {str(value) for value in values}
    return 2 <= len(distinct) <= max(2, len(values) // 2)
