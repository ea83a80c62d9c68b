"""Media kept inside a table, written out once as files, so that everything after sees paths."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from zoo.data.items import identity
from zoo.paths import cache_dir


class Spill:
    """Files of one table under ``cache_dir()/media``; they appear there together, when the ``with`` block ends well.

    Args:
        table: the file the media stand in; another size or time of it means other files.
    """

    def __init__(self, table: Path) -> None:
        key = hashlib.blake2b(identity(str(table), "table").encode(), digest_size=16).hexdigest()
        self.folder = cache_dir() / "media" / key
        self.there = self.folder.is_dir()
        # Equal to the table's, so that the fingerprint of the data does not depend on when it was written out.
        self.time = os.stat(table).st_mtime_ns
        self.work: Path | None = None

    def path_of(self, value: Any, name: str) -> str | None:
        """The path the item will have: of the file written for it, or the path it names itself."""
        data = value.get("bytes") if isinstance(value, dict) else value
        if data is None:
            return value.get("path") if isinstance(value, dict) else None
        name = f"{hashlib.blake2b(name.encode(), digest_size=1).hexdigest()}/{name.replace(os.sep, '_')}"
        if not self.there:
            self._write(name, data)
        return str(self.folder / name)

    def _write(self, name: str, data: bytes) -> None:
        if self.work is None:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self.work = Path(tempfile.mkdtemp(prefix=".writing-", dir=self.folder.parent))
        path = self.work / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        os.utime(path, ns=(self.time, self.time))

    def __enter__(self) -> Spill:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self.work is None:
            return
        try:
            if kind is None:
                self.work.rename(self.folder)
        except OSError:
            if not self.folder.is_dir():  # else another process wrote the same files
                raise
        finally:
            shutil.rmtree(self.work, ignore_errors=True)
