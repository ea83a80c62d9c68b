"""The folder of a built-in sample: whole or not there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zoo_registry.errors import DataError


@contextmanager
def sample_folder(folder: Path) -> Iterator[Path]:
    """A folder to write a sample into, which becomes ``folder`` when the ``with`` block ends well.

    Raises:
        DataError: ``folder`` holds something already, or cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} exists already.", "Remove it, or choose another folder for the sample.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise DataError(f"The sample cannot be written to {folder}: {error}.", "Choose a writable folder.") from error
    try:
        yield draft
        draft.chmod(0o755)  # mkdtemp's folders are private, a data set need not be
        draft.rename(folder)
    except OSError as error:
        if _holds_the_same(folder, draft):  # another process was first
            return
        raise DataError(
            f"The sample cannot be written to {folder}: {error}.", "Free some space or choose another folder."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _holds_the_same(folder: Path, draft: Path) -> bool:
    return folder.is_dir() and draft.is_dir() and sorted(os.listdir(folder)) == sorted(os.listdir(draft))
