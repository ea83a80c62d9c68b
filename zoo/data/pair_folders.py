"""Folders of pairs without a table: files of one name, such as ``0001.jpg`` and ``0001.txt``."""

from __future__ import annotations

import os
from pathlib import Path

from zoo.data.captions import captions_of
from zoo.data.folders import files_under, split_folders, text_of
from zoo.data.pair_tables import RawPairs
from zoo_registry.errors import DataError


def read_pair_folder(folder: Path, pair: tuple[str, str]) -> RawPairs:
    """The pairs under a folder, at any depth: of those in folders called ``train`` and ``val`` where it has these.

    Args:
        pair: modalities of the two sides. The text beside a file is one caption.

    Raises:
        DataError: there are folders of splits but none of training; or not one pair.
    """
    raw = RawPairs()
    for split, folders in split_folders(folder, pair[0], "pairs").items():
        for one in folders:
            _read_beside(one, pair, split, raw)
    return raw


def _read_beside(folder: Path, pair: tuple[str, str], split: str, raw: RawPairs) -> None:
    files, seconds = files_under(folder, pair[0])[0], files_under(folder, pair[1])[0]
    beside = {os.path.splitext(path)[0]: path for path in reversed(seconds)}
    found = raw.splits.setdefault(split, [])
    for file in files:
        second = beside.get(os.path.splitext(file)[0])
        try:
            found += [(file, item) for item in _items(second, pair[1])]
        except DataError as error:
            raw.bad.append((file, error.problem.rstrip(".")))


def _items(path: str | None, modality: str) -> list[str]:
    """The second side that lies beside a file.

    Raises:
        DataError: nothing does, or it is empty.
    """
    what = "caption" if modality == "text" else f"{modality} file"
    if path is None:
        raise DataError(f"no {what} of its name lies beside it.", "Add it.")
    if modality != "text":
        return [path]
    try:
        captions = captions_of(text_of(path))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from error
    if not captions:
        raise DataError("its caption is empty.", "Write one.")
    return captions
