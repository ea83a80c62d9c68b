"""Tables of pairs: a column of files and one of captions, or of other files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from zoo.data.captions import NAMES, captions_of
from zoo.data.columns import Columns, by_name, find_split, listed, recognise, sample_of, split_named, told
from zoo.data.folders import entries, media_folders, tables_by_split
from zoo.data.rows import file_of, require_files, split_of_row
from zoo.data.tables import RawTable, is_table, read_table
from zoo_registry.errors import DataError

Pair = tuple[Any, Any]
"""One raw item for each side."""

_TELLING = ("captions", "metadata", "pairs")
"""Names of the one table that is meant where there are others beside it."""


@dataclass
class RawPairs:
    """Pairs as read.

    Attributes:
        splits: split -> pairs.
        notes: what to tell about the reading.
        bad: (what, why) of what is left out.
        lost: how many pairs that is, where it is not one each.
    """

    splits: dict[str, list[Pair]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)
    lost: int | None = None


def tables_of(path: Path) -> dict[str, list[Path]] | None:
    """The tables a file or folder stands for, by split: itself; those named after splits; the only one, or one called
    ``captions`` or ``metadata``; one in each folder of a split. None where there are none.

    Raises:
        DataError: there are several, and nothing tells which is meant; or there is none for training.
    """
    if path.is_file():
        return {"train": [path]} if is_table(path) else None
    folders, tables = entries(path, "image")
    if "train" in (by_split := tables_by_split(tables)):
        return by_split
    if tables:
        return {"train": [_the_one(path, tables)]}
    inner = {split: (folder, entries(folder, "image")[1]) for folder in folders if (split := split_named(folder.name))}
    named = {split: [_the_one(*found)] for split, found in inner.items() if found[1]}
    if named and "train" not in named:
        raise DataError(f"{path} has tables for {', '.join(named)} but none for train.", "Add a folder train with one.")
    return named or None


def _the_one(folder: Path, tables: Sequence[Path]) -> Path:
    telling = [table for table in tables if table.stem.casefold() in _TELLING]
    if len(tables) > 1 and len(telling) != 1:
        raise DataError(
            f"{folder} has several tables: {', '.join(table.name for table in tables[:5])}.",
            "Give the path of one, or name them train and val.",
        )
    return telling[0] if telling else tables[0]


def read_pair_tables(
    tables: Mapping[str, Sequence[Path]], root: Path, pair: tuple[str, str], overrides: Mapping[str, str]
) -> RawPairs:
    """The pairs in tables; paths are relative to a table's folder, or a folder of media in it.

    Args:
        tables: as :func:`tables_of` finds them; a single one may have a column of splits.
        pair: modalities of the two sides.
        overrides: columns that the user named, by role: input (the first side), pair (the second), split.

    Raises:
        DataError: a table cannot be read, or has no column for a side.
    """
    raw = RawPairs()
    alone = sum(map(len, tables.values())) == 1
    for split, paths in tables.items():
        for path in paths:
            table = read_table(path)
            folders = dict.fromkeys([path.parent, root])
            bases = [*folders, *(inner for folder in folders for inner in media_folders(folder, split))]
            columns = pair_columns(table, pair, overrides, bases)
            if columns.guessed and columns.guessed not in raw.notes:
                raw.notes.append(columns.guessed)
            _read_rows(table, columns, pair, bases, raw, None if alone else split)
    return raw


def pair_columns(
    table: RawTable, pair: tuple[str, str], overrides: Mapping[str, str], bases: Sequence[Path]
) -> Columns:
    """The columns of the two sides and of the splits.

    Raises:
        DataError: none can be recognised, or one that the user named does not exist.
    """
    given = {role: name for role, name in overrides.items() if role in ("input", "pair", "split")}
    first = recognise(table, modality=pair[0], overrides=given, bases=bases, labelled=False).input
    second = given.get("pair") or _second(table, pair[1], {**given, "pair": first}, bases)
    if second == first:
        raise DataError(f"Column {first!r} of {table.path} cannot be both sides.", "Name two columns.")
    split = find_split(table, {**given, "input": first, "pair": second})
    return Columns(first, (), split, told(table, given, first, (), split, (second,)), (second,))


def _second(table: RawTable, modality: str, given: Mapping[str, str], bases: Sequence[Path]) -> str:
    if modality != "text":
        rest = {role: name for role, name in given.items() if role != "input"}
        return recognise(table, modality=modality, overrides=rest, bases=bases, labelled=False).input
    split = find_split(table, given)
    texts = [name for name in table.columns if name not in (given["pair"], split) and _is_text(table, name)]
    sentences = [name for name in texts if _worded(table, name)]
    found = by_name(texts, NAMES) or max(sentences, key=partial(_length, table), default="")
    if not found:
        raise DataError(
            f"{table.path} has no column that looks like captions; its columns are {listed(table)}.",
            "Name it with --pair-column.",
        )
    return found


def _is_text(table: RawTable, name: str) -> bool:
    values = sample_of(table, name)
    found = sum(bool(captions_of(value)) and not isinstance(value, Mapping) for value in values)
    return found * 2 > len(values)


def _worded(table: RawTable, name: str) -> bool:
    return any(" " in text for value in sample_of(table, name) for text in captions_of(value))


def _length(table: RawTable, name: str) -> float:
    values = sample_of(table, name)
    return sum(len(text) for value in values for text in captions_of(value)) / max(1, len(values))


def _read_rows(
    table: RawTable, columns: Columns, pair: tuple[str, str], bases: Sequence[Path], raw: RawPairs, split: str | None
) -> None:
    """Add a table's pairs to ``raw``.

    Args:
        split: of all rows; None: the column tells.
    """
    names = (columns.input, *columns.pair)
    found = []
    for name, modality in zip(names, pair, strict=True):
        values = table.columns[name]
        if modality == "text":
            found.append([captions_of(value) for value in values])
            continue
        files = [file_of(value, bases) for value in values]
        require_files(table, Columns(name, (), None, ""), files, bases)
        found.append([[file] if file else [] for file in files])
    for row, (first, second) in enumerate(zip(*found, strict=True)):
        if not (first and second):
            name, side = (names[0], pair[0]) if not first else (names[1], pair[1])
            raw.bad.append((table.where(row), f"no {'caption' if side == 'text' else side} in column {name}"))
            continue
        pairs = raw.splits.setdefault(split or split_of_row(table, columns, row), [])
        pairs += [(one, other) for one in first for other in second]
