"""Folders: of class folders, of split folders, of split tables."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from zoo.data.columns import Columns, recognise, split_named
from zoo.data.items import is_item
from zoo.data.labels import natural_key
from zoo.data.rows import Raw, Rows, table_rows
from zoo.data.tables import SUFFIXES, RawTable, is_table, read_table
from zoo_registry.errors import DataError


def read_path(path: Path, *, modality: str, columns: Mapping[str, str]) -> Raw:
    """Read a folder or a table file, whatever its layout.

    Raises:
        DataError: nothing in it can be taken for labelled data; says what was found and what is expected.
    """
    if path.is_file():
        return _read_tables({"train": [path]}, path.parent, modality, columns)
    try:
        return _read_folder(path, modality, columns)
    except OSError as error:
        raise DataError(
            f"{error.filename or path} cannot be read: {error.strerror}.", "Check its permissions."
        ) from error


def _read_folder(folder: Path, modality: str, columns: Mapping[str, str]) -> Raw:
    folders, tables = _entries(folder)
    split_tables = _by_split(tables)
    if "train" in split_tables:
        return _read_tables(split_tables, folder, modality, columns)
    split_folders: dict[str, Path] = {}
    for entry in folders:
        if split := split_named(entry.name):
            if split in split_folders:
                raise DataError(
                    f"{folder} has two {split} splits: {split_folders[split].name} and {entry.name}.", "Keep one."
                )
            split_folders[split] = entry
    if "train" in split_folders:
        return _read_split_folders(split_folders, folder, modality, columns)
    if split_folders:
        # Taking a folder named test for a class would train on it.
        raise DataError(
            f"{folder} has {', '.join(entry.name for entry in split_folders.values())} but no train.",
            "Put the training classes into a folder train beside it.",
        )
    notes: list[str] = []
    if len(tables) == 1 and len(folders) < 2:
        return _read_tables({"train": tables}, folder, modality, columns)
    return Raw({"train": _class_folders(folder, folders, modality, notes)}, notes, folder, "classification")


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """Visible (folders, tables) of a folder, in natural order."""
    entries = sorted(
        (e for e in folder.iterdir() if not e.name.startswith((".", "__"))), key=lambda e: natural_key(e.name)
    )
    return [e for e in entries if e.is_dir()], [e for e in entries if e.is_file() and is_table(e)]


def _by_split(tables: list[Path]) -> dict[str, list[Path]]:
    """Tables named after a split: ``train.csv``, ``train-00000-of-00002.parquet``."""
    found: dict[str, list[Path]] = {}
    for table in tables:
        if split := split_named(re.split(r"[-_.]", table.stem, maxsplit=1)[0]):
            found.setdefault(split, []).append(table)
    return found


def _read_split_folders(splits: Mapping[str, Path], root: Path, modality: str, columns: Mapping[str, str]) -> Raw:
    raw = Raw({}, [], root)
    for split in sorted(splits, key=("train", "val", "test").index):
        folder = splits[split]
        folders, tables = _entries(folder)
        if len(tables) == 1 and len(folders) < 2:
            inner = _read_tables({"train": tables}, folder, modality, columns, labelled=split != "test")
            raw.splits[split] = inner.splits["train"]
            raw.notes += inner.notes
        elif split == "test" and not folders:
            raw.notes.append(f"{folder} has no class folders, so it is not used")
        else:
            raw.splits[split] = _class_folders(folder, folders, modality, raw.notes)
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
    empty, ignored = [], 0
    for entry in folders:
        files, others = _files(entry, modality)
        ignored += others
        if not files:
            empty.append(str(entry))
        for file in files:
            rows.inputs.append(_read_text(file) if modality == "text" else file)
            rows.labels.append(entry.name)  # type: ignore[union-attr]
            rows.where.append(file)
    if not rows.inputs:
        raise DataError(
            f"No {modality} files in {folder}: the folders {', '.join(entry.name for entry in folders[:5])} have none.",
            "Check the path and the file types.",
        )
    if empty:
        notes.append(f"empty class folders, left out: {', '.join(empty)}")
    if ignored:
        notes.append(f"{ignored} files in {folder} are no {modality} files and are left out")
    return rows


def _files(folder: Path, modality: str) -> tuple[list[str], int]:
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


def _read_text(path: str) -> str:
    try:
        return Path(path).read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8.", "Save it as UTF-8 and try again.") from None


def _read_tables(
    paths: Mapping[str, list[Path]], root: Path, modality: str, overrides: Mapping[str, str], labelled: bool = True
) -> Raw:
    raw = Raw({}, [], root)
    columns: Columns | None = None
    alone = sum(len(group) for group in paths.values()) == 1
    for split in sorted(paths, key=("train", "val", "test").index):
        for path in paths[split]:
            table = read_table(path)
            bases = [root, *_media_folders(root, split)]
            if columns is None:
                columns = recognise(table, modality=modality, overrides=overrides, bases=bases, labelled=labelled)
                if columns.guessed:
                    raw.notes.append(columns.guessed)
            own = _present(table, columns, split)
            own = Columns(own.input, own.labels, own.split if alone else None, "")
            for name, rows in table_rows(table, own, modality=modality, bases=bases, notes=raw.notes).items():
                _extend(raw.splits, name if alone else split, rows)
    if not raw.splits.get("train", Rows()).inputs:
        raise DataError(f"{root} has no training rows.", "Mark some rows as train.")
    return raw


def _media_folders(root: Path, split: str) -> list[Path]:
    """Where tables' paths may start besides the table's own folder: ``images/``, ``train/``, ..."""
    folders, _ = _entries(root)
    return [f for f in folders if f.name.casefold() in {"images", "audio", "media"} or split_named(f.name) == split]


def _present(table: RawTable, columns: Columns, split: str) -> Columns:
    """The training table's columns as this table has them; a test table may come without labels."""
    for name in (columns.input, *columns.labels):
        if name not in table.columns:
            if split == "test" and name in columns.labels:
                return Columns(columns.input, (), columns.split, "")
            raise DataError(
                f"{table.path} has no column {name!r}, which the training table has; its columns are "
                f"{', '.join(map(repr, table.columns))}.",
                "Give all splits the same columns.",
            )
    return columns


def _extend(splits: dict[str, Rows], name: str, rows: Rows) -> None:
    if name not in splits:
        splits[name] = rows
        return
    old = splits[name]
    old.inputs += rows.inputs
    old.where += rows.where
    old.labels = None if old.labels is None or rows.labels is None else old.labels + rows.labels
