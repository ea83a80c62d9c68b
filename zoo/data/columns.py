"""Which column is the input, which the label: by the user's word, else by name, else by content."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.data.items import EXTENSIONS, shorten
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
    "audio": ("audio", "wav", "clip", "sound", "recording", "audio_path", "audio_filepath", "audio_file", "speech",
              *_FILE_NAMES, "input"),
    "text": ("text", "sentence", "content", "document", "review", "message", "comment", "tweet", "utterance", "query",
             "question", "abstract", "body", "title", "input"),
}  # fmt: skip
LABEL_NAMES = ("label", "labels", "class", "classes", "class_name", "category", "target", "targets", "y", "tag",
                "tags", "output", "intent", "sentiment", "species", "breed", "genre", "emotion", "topic")  # fmt: skip
_SCORE_NAMES = ("score", "similarity", "rating", "stars")
_SPLIT_COLUMNS = ("split", "subset", "partition", "set", "fold")
PAIRS = (("sentence1", "sentence2"), ("sentence_1", "sentence_2"), ("sentence_a", "sentence_b"), ("sent1", "sent2"),
         ("premise", "hypothesis"), ("question1", "question2"), ("text_a", "text_b"), ("text1", "text2"),
         ("text_1", "text_2"), ("question", "sentence"), ("question", "passage"), ("question", "context"),
         ("query", "passage"), ("query", "document"), ("query", "title"))  # fmt: skip
"""Usual names of the two columns whose texts belong together."""
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
        pair: columns whose texts follow the input's in the same item: the second sentence, the context of a question,
            the positive (and the negative) of an anchor.
        task: what the columns mean, where it does not take the labels to tell.
        id: names the rows, where an item carries its name (questions).
        start, end: hold the seconds from and to which the row's recording is heard.
        duration: holds the seconds from the start on, where no column says the end.
    """

    input: str
    labels: tuple[str, ...]
    split: str | None
    guessed: str
    pair: tuple[str, ...] = ()
    task: str | None = None
    id: str | None = None
    start: str | None = None
    end: str | None = None
    duration: str | None = None


def split_named(name: str) -> str | None:
    """``"train"``, ``"val"`` or ``"test"`` for any usual name of theirs, else None."""
    name = name.strip().casefold()
    return next((split for split, names in SPLIT_NAMES.items() if name in names), None)


def recognise(
    table: RawTable, *, modality: str, overrides: Mapping[str, str], bases: Sequence[Path], labelled: bool = True
) -> Columns:
    """Find the input, label, pair and split columns of a table.

    Args:
        overrides: ``{"input": NAME, "label": NAME or "NAME,NAME,...", "pair": NAME, "split": NAME}``, each optional.
        bases: folders that relative paths may start from.
        labelled: raise where no label column is found; else ``labels`` is then empty.

    Raises:
        DataError: a named column does not exist, or none can be recognised; lists the columns there are.
        UsageError: an override of an unknown role.
    """
    check_roles(table, overrides)
    given_labels, given_pair = names_in(overrides.get("label")), names_in(overrides.get("pair"))
    split = find_split(table, overrides)
    taken = {split, *given_labels, *given_pair} - {None}
    source, pair = overrides.get("input"), given_pair
    if modality == "text" and not pair:
        source, pair = find_pair(table, source, taken)
    source = source or _find_input(table, modality, bases, taken)
    labels = given_labels or _find_labels(table, {source, *pair, split})
    if labelled and not labels:
        raise DataError(
            f"{table.path} has no column that looks like labels; its columns are {listed(table)}.",
            "Name it with --label-column (several, separated by commas, for multi-label).",
        )
    return Columns(source, labels, split, told(table, overrides, source, labels, split, pair), pair)


def check_roles(table: RawTable, overrides: Mapping[str, str]) -> None:
    """Raise unless every named column exists, and every role does."""
    unknown = sorted(set(overrides) - {"input", "label", "pair", "split"})
    if unknown:
        raise UsageError(f"Columns have no role {unknown[0]!r}.", "The roles are input, label, pair and split.")
    for role in ("input", "label", "pair", "split"):
        for name in names_in(overrides.get(role)) if role in ("label", "pair") else filter(None, [overrides.get(role)]):
            if name not in table.columns:
                raise DataError(
                    f"{table.path} has no column {name!r}; its columns are {listed(table)}.",
                    "Name one of them with --input-column, --pair-column, --label-column or --split-column.",
                )


def names_in(text: str | None) -> tuple[str, ...]:
    """The column names of ``"NAME,NAME"``."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def told(
    table: RawTable,
    overrides: Mapping[str, str],
    source: str,
    labels: Sequence[str],
    split: str | None,
    pair: Sequence[str] = (),
    more: Mapping[str, str] | None = None,
) -> str:
    """The sentence on what was guessed of a table's columns; empty where the user named them all.

    Args:
        more: roles that a modality has besides, and their columns.
    """
    found = {
        "input": source,
        "pair": ", ".join(pair),
        "label": ", ".join(labels[:5]) + (", ..." if len(labels) > 5 else ""),
        "split": split,
        **(more or {}),
    }
    guessed = ", ".join(f"{role} = {name}" for role, name in found.items() if name and not overrides.get(role))
    return f"columns of {table.path.name}: {guessed}" if guessed else ""


def find_pair(table: RawTable, source: str | None, taken: set[str | None]) -> tuple[str | None, tuple[str, ...]]:
    """(input, pair) by the usual names of two texts that belong together; (source, ()) where there are none.

    Args:
        source: the input column, where it is known: only its partner is then looked for.
        taken: columns that have another role.
    """
    columns = {plain(name): name for name in table.columns if name not in taken}
    for names in PAIRS:
        first, second = (columns.get(name) for name in names)
        if first and second and source in (None, first) and all_text(table, first) and all_text(table, second):
            return first, (second,)
    return source, ()


def all_text(table: RawTable, name: str) -> bool:
    """True if the rows that content is judged by hold text in that column, and nothing else."""
    values = sample_of(table, name)
    return bool(values) and all(isinstance(value, str) for value in values)


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


def listed(table: RawTable, most: int = 20) -> str:
    """The table's columns for messages: quoted, shortened, and not too many."""
    names = [repr(shorten(name)) for name in list(table.columns)[:most]]
    return ", ".join(names) + (f" and {len(table.columns) - most} more" if len(table.columns) > most else "")


def plain(name: str) -> str:
    """A column's name as it is compared: lower case, words joined by ``_``."""
    return re.sub(r"\W+", "_", name.strip().casefold()).strip("_")


def by_name(names: Sequence[str], wanted: Sequence[str]) -> str | None:
    """The column with the most telling name: a whole name first, then one that holds a telling word."""
    plain_names = {name: plain(name) for name in names}
    for word in wanted:
        if found := [name for name in names if plain_names[name] == word]:
            return found[0]
    for word in wanted:
        if found := [name for name in names if len(word) > 1 and word in plain_names[name].split("_")]:
            return found[0]
    return None


def find_split(table: RawTable, overrides: Mapping[str, str]) -> str | None:
    """The column that says which split a row is in: the named one, or one of a usual name that holds split names."""
    if given := overrides.get("split"):
        return given
    taken = {overrides.get("input"), *names_in(overrides.get("label")), *names_in(overrides.get("pair"))}
    for name in table.columns:
        if name not in taken and plain(name) in _SPLIT_COLUMNS:
            values = {str(value) for value in table.columns[name]}
            if all(split_named(value) for value in values):
                return name
    return None


def _find_input(table: RawTable, modality: str, bases: Sequence[Path], taken: set[str | None]) -> str:
    names = [name for name in table.columns if name not in taken]
    fits = _content_test(modality, bases)
    fitting = [name for name in names if fits(sample_of(table, name))]
    # Content before names: a column "image" of numbers is no image while another one holds paths.
    wanted = _INPUT_NAMES.get(modality, (modality, *_FILE_NAMES, "input"))
    found = by_name(fitting, wanted)
    if found is None and fitting:
        found = max(fitting, key=lambda name: _mean_length(sample_of(table, name)))
    if found is None:
        found = by_name([name for name in names if plain(name) not in LABEL_NAMES], wanted)
    if found is None:
        raise DataError(
            f"{table.path} has no column that looks like {modality} inputs; its columns are {listed(table)}.",
            "Name it with --input-column; paths are relative to the table's folder.",
        )
    return found


def _find_labels(table: RawTable, taken: set[str | None]) -> tuple[str, ...]:
    names = [name for name in table.columns if name not in taken]
    if named := by_name(names, LABEL_NAMES):
        return (named,)
    hot = [name for name in names if is_multi_hot(sample_of(table, name))]
    if len(hot) > 1:
        return tuple(hot)
    few = [name for name in names if _few_distinct(table.columns[name])]
    if len(few) == 1:
        return (few[0],)
    return tuple(name for name in names if plain(name) in _SCORE_NAMES)[:1]


def sample_of(table: RawTable, name: str) -> list[Any]:
    """The values that a column is judged by: those of the first rows that have one."""
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
