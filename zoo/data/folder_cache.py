"""Folders that are complete or not there, whoever builds them at the same time and whatever kills them."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from zoo_registry.errors import DataError

T = TypeVar("T")

DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

_STALE_SECONDS = 24 * 3600


def build_folder(folder: Path, write: Callable[[Path], None], read: Callable[[Path], T | None]) -> T:
    """Let ``write`` fill a new folder, put it where ``folder`` is, and return what ``read`` makes of it.

    Args:
        read: None for a folder that is missing or damaged; a damaged one is replaced, a sound one kept.

    Raises:
        OSError: the disk is full or not to be written to.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(folder.parent)
    work = Path(tempfile.mkdtemp(prefix=".building-", dir=folder.parent))
    try:
        write(work)
        for path in work.iterdir():
            sync(path)
        return _put(work, folder, read)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _put(work: Path, folder: Path, read: Callable[[Path], T | None]) -> T:
    while True:
        try:
            work.rename(folder)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
        # Where another process was first, its folder is as good as this one - unless it is the damaged one that was
        # the reason to build: that is moved away, never deleted in place, where others may be about to open it.
        if (found := read(folder)) is not None:
            return found
        if not work.exists():
            raise DataError(f"{folder} cannot be read back.", "Point ZOO_CACHE at a folder on a sound disk.")
        with contextlib.suppress(FileNotFoundError):
            folder.rename(tempfile.mkdtemp(prefix=".building-damaged-", dir=folder.parent))


def sync(path: Path) -> None:
    """Wait until a file is on the disk."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _remove_stale(folder: Path) -> None:
    """Remove what killed processes left; a day is longer than any build that is still alive."""
    for left in folder.glob(".building-*"):
        try:
            newest = max(path.stat().st_mtime for path in [left, *left.iterdir()])
        except OSError:
            continue
        if time.time() - newest > _STALE_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
