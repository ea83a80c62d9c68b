"""Table files as columns of raw values, with every complaint naming file and line."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.data.spill import Spill
from zoo_registry.errors import DataError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


@dataclass(frozen=True)
class RawTable:
    """A table as read: values are str (CSV, TSV) or whatever the format holds.

    Attributes:
        path: the file.
        columns: name -> values, all the same length.
        lines: where each row stands in the file, for messages.
        class_names: names of the integer classes of a column, where the file carries them.
    """

    path: Path
    columns: dict[str, list[Any]]
    lines: list[int]
    class_names: dict[str, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, row: int) -> str:
        """``file:line`` of a row."""
        return f"{self.path}:{self.lines[row]}"


def is_table(path: Path) -> bool:
    """True if the name says that the file is a table that :func:`read_table` reads."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def read_table(path: Path) -> RawTable:
    """Read a CSV, TSV, JSONL or Parquet file by its suffix.

    Raises:
        DataError: unreadable, not UTF-8, broken or ragged (with file and line), without rows or of another format.
    """
    if not is_table(path):
        raise DataError(f"{path} is no table that zoo reads.", f"Give one of {', '.join(SUFFIXES)}, or a folder.")
    readers = {".parquet": _read_parquet, ".jsonl": _read_jsonl, ".ndjson": _read_jsonl}
    try:
        table = readers.get(path.suffix.lower(), _read_csv)(path)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}.", "Check the file and its permissions."
        ) from error
    if not len(table):
        raise DataError(f"{path} has no rows.", "Check that the file was written completely.")
    return table


def _text(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        looks = " (it looks like UTF-16)" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else ""
        raise DataError(f"{path}:{line}: the file is not UTF-8{looks}.", "Save it as UTF-8 and try again.") from None


def _read_csv(path: Path) -> RawTable:
    text = _text(path)
    delimiter = _delimiter(text.partition("\n")[0], path)
    limit = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    # newline="" because a quoted field may hold line ends, which belong to it as they are.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(header, path)
        rows, numbers = [], []
        for row in reader:
            if not row or (len(header) > 1 and not any(row)):
                continue
            if len(row) != len(header):
                raise DataError(
                    f"{path}:{reader.line_num}: the row has {len(row)} fields, the header has {len(header)}.",
                    "Quote fields that hold the separator or line ends, and complete short rows.",
                )
            rows.append(row)
            numbers.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: {error}.", "Check the quotes around that line.") from None
    finally:
        csv.field_size_limit(limit)
    return RawTable(path, {name: [row[i] for row in rows] for i, name in enumerate(header)}, numbers)


def _delimiter(header: str, path: Path) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    return max(",;\t", key=header.count) if any(mark in header for mark in ",;\t") else ","


def _check_header(header: list[str], path: Path) -> None:
    if not header:
        raise DataError(f"{path} is empty.", "Check that the file was written completely.")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"{path} has the column {twice[0]!r} more than once.", "Give every column a name of its own.")


def _read_jsonl(path: Path) -> RawTable:
    records: list[dict[str, Any]] = []
    numbers = []
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            why = error.msg if isinstance(error, json.JSONDecodeError) else "not JSON"
            raise DataError(f"{path}:{number}: {why}.", "Each line must be one JSON object.") from None
        if not isinstance(record, dict):
            raise DataError(
                f"{path}:{number}: not a JSON object.", 'Each line must look like {"text": ..., "label": ...}.'
            )
        records.append(record)
        numbers.append(number)
    names = dict.fromkeys(name for record in records for name in record)
    return RawTable(path, {name: [record.get(name) for record in records] for name in names}, numbers)


def _read_parquet(path: Path) -> RawTable:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file, Spill(path) as spill:
            schema = file.schema_arrow
            media = {name for name in schema.names if _holds_bytes(schema.field(name).type)}
            columns: dict[str, list[Any]] = {name: [] for name in schema.names}
            # Batch by batch, so that images or recordings kept in the table never stand in memory together.
            for batch in file.iter_batches(batch_size=256):
                for name in schema.names:
                    values = batch.column(schema.names.index(name)).to_pylist()
                    if name in media:
                        first = len(columns[name])
                        values = [spill.path_of(value, f"{name}-{first + i}") for i, value in enumerate(values)]
                    columns[name] += values
    except (pyarrow.ArrowException, ValueError, KeyError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise DataError(f"{path} is no readable Parquet file: {first_line}.", "Check that it is complete.") from None
    rows = len(next(iter(columns.values()), []))
    return RawTable(path, columns, list(range(1, rows + 1)), _class_names(schema.metadata))


def _holds_bytes(kind: Any) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
    return types.is_binary(kind) or types.is_large_binary(kind)


def _class_names(metadata: dict[bytes, bytes] | None) -> dict[str, list[str]]:
    """Class names as the ``datasets`` library writes them into a Parquet file's metadata."""
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        return {name: list(feature["names"]) for name, feature in features.items() if "names" in feature}
    except (KeyError, TypeError, ValueError):
        return {}
