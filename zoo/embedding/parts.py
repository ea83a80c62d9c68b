"""A large Parquet file written in parts that survive a stop: finished ones are not made again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from zoo.run import write_json
from zoo_registry.errors import UsageError, ZooError

FACTS = "parts.json"
_BAD = b"zoo.bad"


class Parts:
    """The folder ``<output>.parts`` beside an output file.

    Args:
        output: the file to become.
        facts: JSON values that decide what is in the parts.
        force: throw away parts made from other facts.

    Raises:
        UsageError: there are parts of other facts; names what differs.
        ZooError: the folder cannot be written.
    """

    def __init__(self, output: Path, facts: dict[str, Any], *, force: bool = False) -> None:
        self.output = output
        self.folder = output.with_name(f"{output.name}.parts")
        facts = json.loads(json.dumps(facts, default=str))
        if (self.folder / FACTS).is_file():
            differing = _differing(self._known(), facts)
            if differing and not force:
                raise UsageError(
                    f"{self.folder} holds parts made with another {' and '.join(differing)}.",
                    "Repeat the command they were made with, choose another -o, or start over with --force.",
                )
            if not differing:
                return
        with _writing(self.folder):
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            write_json(self.folder / FACTS, facts)

    def _known(self) -> dict[str, Any]:
        try:
            known = json.loads((self.folder / FACTS).read_text(encoding="utf-8"))
            return known if isinstance(known, dict) else {}
        except (OSError, ValueError):
            return {}

    def has(self, number: int) -> bool:
        """Whether a part is there and can be read."""
        try:
            with parquet.ParquetFile(self._path(number)) as file:
                return _BAD in (file.schema_arrow.metadata or {})
        except (OSError, pyarrow.ArrowException):
            return False

    def write(self, number: int, table: pyarrow.Table, bad: Sequence[tuple[int, str, str]]) -> None:
        """One part, and what of it could not be read: (row, name, why)."""
        path = self._path(number)
        temporary = path.with_suffix(".tmp")
        with _writing(path):
            parquet.write_table(table.replace_schema_metadata({_BAD: json.dumps(bad).encode()}), temporary)
            _flush(temporary)
            temporary.replace(path)

    def bad(self, number: int) -> list[tuple[int, str, str]]:
        """What could not be read of a finished part."""
        with parquet.ParquetFile(self._path(number)) as file:
            found = json.loads((file.schema_arrow.metadata or {})[_BAD])
        return [(int(row), str(name), str(why)) for row, name, why in found]

    def merge(self, count: int, schema: pyarrow.Schema) -> int:
        """Make the output of parts 0 to ``count``, in one rename, and remove them; returns its number of rows."""
        temporary = self.output.with_name(f".{self.output.name}.{os.getpid()}.tmp")
        rows = 0
        try:
            with _writing(self.output):
                with parquet.ParquetWriter(temporary, schema) as writer:
                    for number in range(count):
                        table = parquet.read_table(self._path(number)).replace_schema_metadata(schema.metadata)
                        rows += len(table)
                        writer.write_table(table)
                _flush(temporary)
                temporary.replace(self.output)
        finally:
            temporary.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        return rows

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}.parquet"


def _differing(known: dict[str, Any], facts: dict[str, Any]) -> list[str]:
    return [name for name in {**facts, **known} if known.get(name) != facts.get(name)]


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ZooError(
            f"{path} cannot be written: {error.strerror or error}.", "Free some space or check the rights."
        ) from error


def _flush(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
