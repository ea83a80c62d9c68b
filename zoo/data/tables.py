"""Table files as columns of raw values, with every complaint naming file and line."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.data.items import shorten
from zoo.data.spill import Spill
from zoo_registry.errors import DataError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
_LONGEST_HEADER = 1 << 20
_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True)
class RawTable:
    """A table as read: values are str (CSV, TSV) or whatever the format holds.

    Attributes:
        path: the file.
        columns: name -> values, all the same length.
        lines: where each row stands in the file, for messages: its line, or its name where the format has no lines.
        class_names: names of the integer classes of a column, where the file carries them.
        word_lines: True where a row is a sentence and each of its words has a line of its own.
    """

    path: Path
    columns: dict[str, list[Any]]
    lines: Sequence[int | str]
    class_names: dict[str, list[str]] = field(default_factory=dict)
    word_lines: bool = False

    def __len__(self) -> int:
        return len(self.lines)

    def where(self, row: int) -> str:
        """``file:line`` of a row."""
        return f"{self.path}:{self.lines[row]}"

    def place(self, row: int, word: int) -> str:
        """``file:line`` of a word of a row; the row's where words have no lines of their own."""
        line = self.lines[row]
        return f"{self.path}:{line + word}" if self.word_lines and isinstance(line, int) else self.where(row)


def is_table(path: Path) -> bool:
    """True if the name says that the file is a table of any modality that :func:`read_table` reads."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def read_table(path: Path, *, tagged: bool | None = None, lines: bool = False) -> RawTable:
    """Read a CSV, TSV, JSONL, Parquet, CoNLL, JSON or text file by its suffix.

    CoNLL files give the columns ``tokens`` and ``tags`` (:mod:`zoo.data.conll`), SQuAD files ``question``, ``context``
    and ``answers`` (:mod:`zoo.data.squad`), text files that are no CoNLL files a row a line in the column ``text``.

    Args:
        tagged: whether a text file is a CoNLL file; None: what it looks like.
        lines: whether a JSON file that is no list has an object on each line, as a JSONL file has.

    Raises:
        DataError: unreadable, not UTF-8, broken or ragged (with file and line), without rows or of another format.
    """
    try:
        by_line = lines and not read_text(path).lstrip().startswith("[")
        table = _read_jsonl(path) if by_line else _reader(path, tagged)(path)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}.", "Check the file and its permissions."
        ) from error
    if not len(table):
        raise DataError(f"{path} has no rows.", "Check that the file was written completely.")
    return table


def _reader(path: Path, tagged: bool | None) -> Callable[[Path], RawTable]:
    from zoo.data import conll, squad  # they build on this module

    suffix = path.suffix.lower()
    readers = {".csv": _read_csv, ".tsv": _read_csv, ".parquet": _read_parquet, ".jsonl": _read_jsonl}
    readers |= {".ndjson": _read_jsonl, ".json": squad.read_json, ".txt": _read_lines}
    readers |= dict.fromkeys(conll.SUFFIXES, conll.read_conll)
    if suffix == ".txt" and (conll.looks_like_conll(path) if tagged is None else tagged):
        return conll.read_conll
    if suffix not in readers or path.name.startswith("."):
        raise DataError(f"{path} is no table that zoo reads.", f"Give one of {', '.join(SUFFIXES)}, or a folder.")
    return readers[suffix]


def _read_lines(path: Path) -> RawTable:
    line_limit(path)
    rows = [(number, line) for number, line in enumerate(lines_of(read_text(path)), start=1) if line.strip()]
    return RawTable(path, {"text": [line for _, line in rows]}, [number for number, _ in rows])


def read_text(path: Path) -> str:
    """A file's text, which must be UTF-8 (with or without a byte order mark) and free of NUL bytes.

    Raises:
        DataError: it is not; names the line and what the file looks like.
    """
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Where accents before were read as UTF-8, the file is damaged rather than in another encoding.
        damaged = not data[: error.start].isascii()
        looks, encoding = ("", "") if damaged else _encoding(data)
        raise DataError(
            f"{path}:{_line(data, error.start)}: the file is not UTF-8{looks}.", _convert(path, encoding)
        ) from None
    if (nul := data.find(b"\0")) >= 0:
        looks, encoding = _encoding(data)
        raise DataError(f"{path}:{_line(data, nul)}: the file holds NUL bytes{looks}.", _convert(path, encoding))
    return text


def lines_of(text: str) -> list[str]:
    """The lines of a text, ended by LF, CR LF or CR alone and by nothing else; without an empty one at the end."""
    lines = text.split("\n") if "\r" not in text else _LINE_END.split(text)
    return lines[:-1] if lines and not lines[-1] else lines


def line_limit(path: Path) -> None:
    """Raise a DataError if the first line is so long that the file is no table, before all of it is read."""
    with open(path, "rb") as file:
        head = file.read(_LONGEST_HEADER + 1)
    if len(head) > _LONGEST_HEADER and not any(end in head for end in (b"\n", b"\r")):
        raise DataError(
            f"The first line of {path} is longer than 1 MiB, so it is no table.",
            "Check that it has line ends. Plain text without labels is for zoo pretrain.",
        )


def _line(data: bytes, position: int) -> int:
    before = data[:position]
    return before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n") + 1


def _encoding(data: bytes) -> tuple[str, str]:
    """(words for a message, iconv's name) of the encoding that bytes look like; empty where nothing can be said."""
    head = data[:_LONGEST_HEADER]
    if head[:2] in {b"\xff\xfe", b"\xfe\xff"} or head.count(b"\0") * 4 > len(head):
        return " (it looks like UTF-16)", "UTF-16"
    high = len(head) - len(head.translate(None, bytes(range(0x80, 0x100))))
    # In languages written in Latin letters few of the letters have accents.
    if high and high * 4 < len(head) and not any(byte in head for byte in b"\x81\x8d\x8f\x90\x9d"):
        return " (it looks like Latin-1/Windows-1252)", "WINDOWS-1252"
    return "", ""


def _convert(path: Path, encoding: str) -> str:
    if not encoding:
        return "Save it as UTF-8 and try again."
    return f"Convert it: iconv -f {encoding} -t UTF-8 {path} > {path.stem}.utf8{path.suffix}"


def _read_csv(path: Path) -> RawTable:
    line_limit(path)
    text = read_text(path)
    first_line = _LINE_END.split(text, maxsplit=1)[0]
    delimiter = _delimiter(first_line, path)
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
    if header and not rows:
        raise DataError(
            f"{path} has no rows: its only line, {shorten(first_line)!r}, names the columns.",
            "Write the names of the columns into the first line, such as text,label, and the data below.",
        )
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
        raise DataError(
            f"{path} has the column {shorten(twice[0])!r} more than once.", "Give every column a name of its own."
        )


def _read_jsonl(path: Path) -> RawTable:
    records: list[dict[str, Any]] = []
    numbers = []
    for number, line in enumerate(lines_of(read_text(path)), start=1):
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
        found = {name: _names(feature) for name, feature in features.items()}
        return {name: names for name, names in found.items() if names}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _names(feature: Any) -> list[str]:
    """The class names of a feature, or of the members of a list of them."""
    if isinstance(feature, list):
        return _names(feature[0]) if feature else []
    if not isinstance(feature, dict):
        return []
    return list(feature["names"]) if "names" in feature else _names(feature.get("feature"))
