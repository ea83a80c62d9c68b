"""Folders: of class folders, of split folders, of split tables."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from zoo.data import conll
from zoo.data.columns import Columns, listed, recognise, split_named, told
from zoo.data.items import is_item
from zoo.data.labels import is_missing, natural_key
from zoo.data.layouts import recognise_task
from zoo.data.librispeech import read_librispeech
from zoo.data.rows import MAX_MISSING, Raw, Rows, table_rows
from zoo.data.sound_tables import recognise_sound
from zoo.data.tables import SUFFIXES, RawTable, is_table, read_table, read_text
from zoo_registry.errors import DataError

TEXT_SUFFIXES = (*SUFFIXES, *conll.SUFFIXES, ".json", ".txt")
"""Files that are tables of texts; those of the other modalities are :data:`zoo.data.tables.SUFFIXES`."""

_MEDIA = {"images", "audio", "media", "clips", "wav", "wavs", "recordings"}


@dataclass(frozen=True)
class _Wanted:
    """What a source is read for."""

    modality: str
    columns: Mapping[str, str]
    task: str | None
    labelled: bool = True


def read_path(
    path: Path, *, modality: str, columns: Mapping[str, str], task: str | None = None, labelled: bool = True
) -> Raw:
    """Read a folder or a table file, whatever its layout.

    Args:
        task: what the data must be for; None: what it looks like.
        labelled: False: columns of labels are neither needed nor read.

    Raises:
        DataError: nothing in it can be taken for labelled data; says what was found and what is expected.
    """
    wanted = _Wanted(modality, columns, task, labelled)
    if path.is_file():
        return _read_tables({"train": [path]}, path.parent, wanted)
    try:
        return _read_folder(path, wanted)
    except OSError as error:
        raise DataError(
            f"{error.filename or path} cannot be read: {error.strerror}.", "Check its permissions."
        ) from error


def _read(path: Path, wanted: _Wanted) -> RawTable:
    """A table file; of plain text only what can be one: CoNLL lines, or texts to generate from. The JSON files of
    recordings are lists, or as NeMo's are, an object on each line."""
    if path.suffix.lower() == ".json" and wanted.modality == "audio":
        return read_table(path, lines=True)
    if path.suffix.lower() != ".txt" or wanted.modality != "text":
        return read_table(path)
    if wanted.task in ("token-classification", "generation"):
        return read_table(path, tagged=wanted.task == "token-classification")
    if wanted.task is not None or not conll.looks_like_conll(path):
        raise DataError(
            f"{path} is plain text without labels.",
            f"Give a table ({', '.join(SUFFIXES)}) or CoNLL files; plain text is for zoo pretrain.",
        )
    return read_table(path, tagged=True)


def _read_folder(folder: Path, wanted: _Wanted) -> Raw:
    if wanted.modality == "audio" and (spoken := read_librispeech(folder, wanted.task)) is not None:
        return spoken
    folders, tables = entries(folder, wanted.modality)
    split_tables = tables_by_split(tables)
    if "train" in split_tables:
        return _read_tables(split_tables, folder, wanted)
    split_folders: dict[str, Path] = {}
    for entry in folders:
        if split := split_named(entry.name):
            if split in split_folders:
                raise DataError(
                    f"{folder} has two {split} splits: {split_folders[split].name} and {entry.name}.", "Keep one."
                )
            split_folders[split] = entry
    if "train" in split_folders:
        return _read_split_folders(split_folders, folder, wanted)
    if split_folders:
        # Taking a folder named test for a class would train on it.
        raise DataError(
            f"{folder} has {', '.join(entry.name for entry in split_folders.values())} but no train.",
            "Put the training classes into a folder train beside it.",
        )
    notes: list[str] = []
    if len(tables) == 1 and len(folders) < 2:
        return _read_tables({"train": tables}, folder, wanted)
    return Raw({"train": _class_folders(folder, folders, wanted.modality, notes)}, notes, folder, "classification")


def split_folders(folder: Path, modality: str, what: str) -> dict[str, list[Path]]:
    """The folders in a folder that are named after splits, by split; where none is, all of it is ``train``.

    Args:
        what: lies in them, for messages: ``"files"``.

    Raises:
        DataError: there are such folders, and none of training.
    """
    splits: dict[str, list[Path]] = {}
    for inner in entries(folder, modality)[0]:
        if split := split_named(inner.name):
            splits.setdefault(split, []).append(inner)
    if splits and "train" not in splits:
        raise DataError(
            f"{folder} has {' and '.join(splits)} folders but no train.",
            f"Put the {what} to train on into a folder train beside them.",
        )
    return splits or {"train": [folder]}


def entries(folder: Path, modality: str) -> tuple[list[Path], list[Path]]:
    """Visible (folders, tables) of a folder, in natural order."""
    entries = sorted(
        (e for e in folder.iterdir() if not e.name.startswith((".", "__"))), key=lambda e: natural_key(e.name)
    )
    files = [e for e in entries if e.is_file()]
    tables = [e for e in files if is_table(e)]
    if modality == "text" and not tables:
        tables = [e for e in files if e.suffix.lower() in conll.SUFFIXES]
        # A JSON or text file may be anything, so its name must say that it is a split, and no surer table lie beside.
        tables = tables or [e for e in files if e.suffix.lower() in {".json", ".txt"} and _split_of(e)]
    if modality == "audio" and not tables:
        tables = [e for e in files if e.suffix.lower() == ".json" and _split_of(e)]
    return [e for e in entries if e.is_dir()], tables


def tables_by_split(tables: list[Path]) -> dict[str, list[Path]]:
    """Tables named after a split: ``train.csv``, ``train-00000-of-00002.parquet``."""
    found: dict[str, list[Path]] = {}
    for table in tables:
        if split := _split_of(table):
            found.setdefault(split, []).append(table)
    return found


def _split_of(table: Path) -> str | None:
    return split_named(re.split(r"[-_.]", table.stem, maxsplit=1)[0])


def _read_split_folders(splits: Mapping[str, Path], root: Path, wanted: _Wanted) -> Raw:
    raw = Raw({}, [], root)
    for split in sorted(splits, key=("train", "val", "test").index):
        folder = splits[split]
        folders, tables = entries(folder, wanted.modality)
        if len(tables) == 1 and len(folders) < 2:
            inner = _read_tables({"train": tables}, folder, wanted, labelled=split != "test")
            raw.splits[split] = inner.splits["train"]
            raw.notes += inner.notes
            raw.task = raw.task or inner.task
        elif split == "test" and not folders:
            raw.notes.append(f"{folder} has no class folders, so it is not used")
        else:
            raw.splits[split] = _class_folders(folder, folders, wanted.modality, raw.notes)
            raw.task = "classification"
    return raw


def _class_folders(folder: Path, folders: list[Path], modality: str, notes: list[str]) -> Rows:
    if not folders:
        loose = sum(is_item(entry.name, modality) and entry.is_file() for entry in folder.iterdir())
        found = f"{loose} {modality} files but no folder per class" if loose else "nothing that can be read as data"
        raise DataError(
            f"{folder} holds {found}.",
            f"Put each class's files into a folder of its name, or give a table ({', '.join(SUFFIXES)}).",
        )
    rows = Rows(labels=[])
    empty, blank, ignored = [], [], 0
    for entry in folders:
        files, others = files_under(entry, modality)
        ignored += others
        if not files:
            empty.append(str(entry))
        for file in files:
            item = text_of(file) if modality == "text" else file
            if is_missing(item):
                blank.append(file)
                continue
            rows.inputs.append(item)
            rows.labels.append(entry.name)  # type: ignore[union-attr]
            rows.where.append(file)
    if not rows.inputs:
        raise DataError(
            f"No {modality} files in {folder}: the folders {', '.join(entry.name for entry in folders[:5])} have none.",
            "Check the path and the file types.",
        )
    if empty:
        notes.append(f"empty class folders, left out: {', '.join(empty)}")
    if blank:
        text = f"{len(blank)} of {len(rows.inputs) + len(blank)} files hold no text: {', '.join(blank[:5])}"
        if len(blank) > MAX_MISSING * (len(rows.inputs) + len(blank)):
            raise DataError(f"{text}.", "Remove or complete them.")
        notes.append(f"left out: {text}{', ...' if len(blank) > 5 else ''}")
    if ignored:
        notes.append(f"{ignored} files in {folder} are no {modality} files and are left out")
    return rows


def files_under(folder: Path, modality: str) -> tuple[list[str], int]:
    """(paths of items anywhere under the folder in natural order, number of other visible files)."""
    found, others = [], 0
    for parent, inner, names in os.walk(folder):
        inner[:] = [name for name in inner if not name.startswith(".")]
        for name in names:
            if name.startswith(".") or name.casefold() in {"thumbs.db", "desktop.ini"}:
                continue
            if is_item(name, modality):
                found.append(os.path.join(parent, name))
            else:
                others += 1
    return sorted(found, key=natural_key), others


def text_of(path: str) -> str:
    """A text file's content, lines ended by LF; errors as :func:`zoo.data.tables.read_text`."""
    return read_text(Path(path)).replace("\r\n", "\n").replace("\r", "\n")


def _read_tables(paths: Mapping[str, list[Path]], root: Path, wanted: _Wanted, labelled: bool = True) -> Raw:
    raw = Raw({}, [], root)
    modality = wanted.modality
    columns: Columns | None = None
    alone = sum(len(group) for group in paths.values()) == 1
    for split in sorted(paths, key=("train", "val", "test").index):
        for path in paths[split]:
            table = _read(path, wanted)
            bases = [root, *media_folders(root, split)]
            if columns is None:
                columns = _columns(table, wanted, bases, labelled)
                raw.task = columns.task
                wanted = replace(wanted, task=columns.task or wanted.task)  # the other splits are of the same kind
                if columns.guessed and table.path.suffix.lower() not in conll.SUFFIXES:
                    raw.notes.append(columns.guessed)
            own = _present(table, columns, split)
            own = replace(own, split=own.split if alone else None)
            for name, rows in table_rows(table, own, modality=modality, bases=bases, notes=raw.notes).items():
                _extend(raw.splits, name if alone else split, rows)
    if not raw.splits.get("train", Rows()).inputs:
        raise DataError(f"{root} has no training rows.", "Mark some rows as train.")
    return raw


def _columns(table: RawTable, wanted: _Wanted, bases: list[Path], labelled: bool) -> Columns:
    if wanted.modality == "text":
        columns = recognise_task(table, task=wanted.task, overrides=wanted.columns)
        if columns is not None:
            return columns
    labelled = labelled and wanted.labelled
    if wanted.modality == "audio":
        columns = recognise_sound(table, task=wanted.task, overrides=wanted.columns, bases=bases, labelled=labelled)
    else:
        columns = recognise(table, modality=wanted.modality, overrides=wanted.columns, bases=bases, labelled=labelled)
    if wanted.labelled:
        return columns
    return replace(columns, labels=(), task=None, guessed=told(table, wanted.columns, columns.input, (), columns.split))


def media_folders(root: Path, split: str) -> list[Path]:
    """Where tables' paths may start besides the table's own folder: ``images/``, ``clips/``, ``train/``, ..."""
    folders = sorted((e for e in root.iterdir() if e.is_dir()), key=lambda e: natural_key(e.name))
    return [f for f in folders if f.name.casefold() in _MEDIA or split_named(f.name) == split]


def _present(table: RawTable, columns: Columns, split: str) -> Columns:
    """The training table's columns as this table has them; a test table may come without labels."""
    columns = replace(
        columns,
        id=_if_there(columns.id, table),
        start=_if_there(columns.start, table),
        end=_if_there(columns.end, table),
        duration=_if_there(columns.duration, table),
    )
    for name in (columns.input, *columns.pair, *columns.labels):
        if name not in table.columns:
            if split == "test" and name in columns.labels:
                return replace(columns, labels=())
            raise DataError(
                f"{table.path} has no column {name!r}, which the training table has; its columns are {listed(table)}.",
                "Give all splits the same columns.",
            )
    return columns


def _if_there(name: str | None, table: RawTable) -> str | None:
    return name if name in table.columns else None


def _extend(splits: dict[str, Rows], name: str, rows: Rows) -> None:
    if name not in splits:
        splits[name] = rows
        return
    old = splits[name]
    old.inputs += rows.inputs
    old.where += rows.where
    old.labels = None if old.labels is None or rows.labels is None else old.labels + rows.labels
