"""Texts without labels, for pretraining: documents that are streamed, never held in memory together."""

from __future__ import annotations

import codecs
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Protocol

from zoo.console import say
from zoo.data.columns import split_named
from zoo.data.dataset import Table
from zoo.data.fingerprint import fingerprint
from zoo.data.folders import TEXT_SUFFIXES, entries, read_path
from zoo.data.items import texts_of
from zoo.data.labels import natural_key
from zoo.data.rows import Raw
from zoo.data.sources import Found, locate
from zoo_registry.errors import DataError, UsageError

if TYPE_CHECKING:
    from zoo_registry import Registry

LONGEST = 1 << 20
"""Bytes of a line above which it is cut into several documents, at white space."""

_LINE_END = re.compile(rb"\r\n|\n|\r")
_SHORT = 1000
"""Characters that the middle one of a source's documents may have for them to be called lines."""
_MAX_BAD = 0.05


class Source(Protocol):
    """The documents of a split; can be gone through any number of times, each time in the same order.

    Attributes:
        lines: True where documents are short (sentences, table rows), so that each is a sample by itself; else they
            are long texts to be cut.
    """

    lines: bool

    def __iter__(self) -> Iterator[str]: ...

    def notes(self) -> list[str]:
        """What the last complete pass left out or cut."""
        ...


@dataclass(frozen=True)
class Corpus:
    """A named corpus.

    Attributes:
        name, origin, sample, path: as in :class:`zoo.data.dataset.DataSet`.
        splits: ``train`` and ``val`` always, ``test`` where the corpus has one.
        fingerprint: sha256 over the documents (of files: names, sizes and times) and the split.
        notes: what a careful person would want to know.
    """

    name: str
    origin: str
    splits: dict[str, Source]
    fingerprint: str
    notes: tuple[str, ...] = ()
    path: str = ""
    sample: bool = False


@dataclass(frozen=True)
class Cut:
    """Every ``every``-th document, which one of each ``every`` being drawn from the seed: ``held`` ones or the rest."""

    every: int
    seed: int
    held: bool

    def take(self, documents: Iterator[str]) -> Iterator[str]:
        for number, document in enumerate(documents):
            block, place = divmod(number, self.every)
            if place == 0:
                digest = hashlib.blake2b(f"{self.seed}:{block}".encode(), digest_size=8).digest()
                drawn = int.from_bytes(digest, "big") % self.every
            if (place == drawn) == self.held:
                yield document


class TextFiles:
    """A :class:`Source` of UTF-8 text files: a document is a line that is not blank.

    Lines that are not UTF-8 or hold NUL bytes are skipped and counted; lines above :data:`LONGEST` are cut at white
    space. Memory stays within a few times that, whatever the file.
    """

    def __init__(self, paths: Sequence[Path], cut: Cut | None = None, lines: bool = True) -> None:
        self.paths, self.cut, self.lines = tuple(paths), cut, lines
        self._counts = (0, 0, 0)

    def __iter__(self) -> Iterator[str]:
        documents = self._documents()
        return self.cut.take(documents) if self.cut else documents

    def _documents(self) -> Iterator[str]:
        number, bad, long = 0, 0, 0
        for path in self.paths:
            for piece, is_first in _pieces(path):
                number += is_first
                text = _decode(piece)
                if text is None:
                    bad += 1
                elif text.strip():
                    yield text.strip()
                long += not is_first
        self._counts = (number, bad, long)

    def notes(self) -> list[str]:
        number, bad, long = self._counts
        notes = [f"skipped {bad} of {number} lines that are not UTF-8"] if bad else []
        return notes + ([f"lines longer than 1 MiB were cut at white space, in {long} places"] if long else [])


@dataclass
class Texts:
    """A :class:`Source` of texts in memory: what a table held."""

    texts: Sequence[str]
    cut: Cut | None = None
    lines: bool = field(default=True)

    def __iter__(self) -> Iterator[str]:
        return self.cut.take(iter(self.texts)) if self.cut else iter(self.texts)

    def notes(self) -> list[str]:
        return []


def load_corpus(
    data: str,
    *,
    registry: Registry,
    seed: int = 0,
    val_fraction: float = 0.05,
    columns: Mapping[str, str] | None = None,
    allow_sample: bool = True,
) -> Corpus:
    """Find a corpus and split it; what was taken and every note is said on stderr as well.

    Args:
        data: a text file (a document a line), a folder of text files (``.txt``, anywhere under it), or any data set of
            texts (see :func:`zoo.data.sources.load_dataset`), whose labels are then ignored.
        seed, val_fraction: of the validation split where the data has none: one document of every
            ``1 / val_fraction``. Splits are told by the names of files (``wiki.train.txt``), folders or a table.
        columns: ``{"input": ..., "pair": ..., "split": ...}``, each optional.

    Raises:
        UnknownName: no path and no data set of that name.
        DataError: the data cannot be read, holds no text, or is not UTF-8.
        UsageError: options that do not fit together.
    """
    if not data.strip():
        raise UsageError("The data is empty.", "Give a file or folder of text, or the name of a data set.")
    if not 0 < val_fraction <= 0.5:
        raise UsageError(f"The validation fraction is {val_fraction}.", "Give a number up to 0.5, such as 0.05.")
    found = locate(data, registry, "text", dict(columns or {}), allow_sample)
    say(f"data: {found.origin}")
    try:
        corpus = _read(found, {**found.columns, **(columns or {})}, seed, round(1 / val_fraction))
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}.", "Check its permissions.") from error
    for note in corpus.notes:
        say(f"  {note}")
    return corpus


def _read(found: Found, columns: Mapping[str, str], seed: int, every: int) -> Corpus:
    splits, mark, notes = _text_files(found.path) if _is_text(found.path) else _table_texts(found.path, columns)
    notes = [*found.notes, *notes]
    if "val" not in splits:
        every = _fit(splits["train"], every, found.path)
        splits |= {"val": _cut(splits["train"], Cut(every, seed, True))}
        splits |= {"train": _cut(splits["train"], Cut(every, seed, False))}
        mark += f"\n{every} {seed}"
        notes.append(f"no validation split: one document of every {every} is held out for it (seed {seed})")
    return Corpus(
        name=found.name,
        origin=found.origin,
        splits={split: splits[split] for split in ("train", "val", "test") if split in splits},
        fingerprint=hashlib.sha256(mark.encode()).hexdigest(),
        notes=tuple(notes),
        path=os.path.abspath(found.path) if found.local else "",
        sample=found.sample,
    )


def _is_text(path: Path) -> bool:
    """False where there is a table to read: the file itself, or one in the folder or in a folder of a split."""
    if path.is_file():
        return path.suffix.lower() not in TEXT_SUFFIXES or path.suffix.lower() == ".txt"
    inner, tables = entries(path, "text")
    for folder in inner:
        tables += entries(folder, "text")[1] if split_named(folder.name) else []
    return all(table.suffix.lower() == ".txt" for table in tables)


def _text_files(path: Path) -> tuple[dict[str, Source], str, list[str]]:
    files = [path] if path.is_file() else _files_under(path)
    root = path.parent if path.is_file() else path
    if not files:
        raise DataError(f"{path} holds no text files.", "Give a folder of .txt files, a text file or a table.")
    groups: dict[str, list[Path]] = {}
    for file in files:
        groups.setdefault("train" if path.is_file() else _split_of(file.relative_to(root)), []).append(file)
    if "train" not in groups:
        raise DataError(f"{path} has {' and '.join(groups)} texts but none to train on.", "Add a train file.")
    for file in files:
        _require_utf8(file)
    splits: dict[str, Source] = {name: TextFiles(group, lines=_short(group)) for name, group in groups.items()}
    tables = {
        name: Table({"input": list(map(str, group)), "label": [0] * len(group)}) for name, group in groups.items()
    }
    return splits, fingerprint(tables, (), "file", str(root)), [f"{len(files)} text files"] if len(files) > 1 else []


def _files_under(folder: Path) -> list[Path]:
    found = (file for file in folder.rglob("*.txt") if file.is_file())
    visible = (file for file in found if not any(part.startswith(".") for part in file.relative_to(folder).parts))
    return sorted(visible, key=lambda file: natural_key(str(file)))


def _split_of(file: Path) -> str:
    """The split that a file's folders or the parts of its name tell; else ``train``."""
    words = [*file.parts[:-1], *re.split(r"[-_.]", file.stem)]
    return next((split for word in words if (split := split_named(word))), "train")


def _require_utf8(path: Path) -> None:
    """Raise a DataError if much of a file's first MiB is not UTF-8 text."""
    with open(path, "rb") as file:
        head = file.read(LONGEST)
    lines = _LINE_END.split(head)
    whole = lines[:-1] if len(lines) > 1 else lines
    ends = len(lines) > 1 or len(head) < LONGEST  # else the only line may be cut inside a character
    bad = [number for number, line in enumerate(whole, start=1) if _decode(line, ends) is None]
    if len(bad) > _MAX_BAD * len(whole):
        raise DataError(
            f"{path}:{bad[0]}: the file is not UTF-8 text ({len(bad)} of its first {len(whole)} lines are not).",
            f"Convert it, for example: iconv -f WINDOWS-1252 -t UTF-8 {path} > {path.stem}.utf8{path.suffix}",
        )


def _short(paths: Sequence[Path]) -> bool:
    return median([len(text) for text in islice(TextFiles(paths[:1]), 200)] or [0]) <= _SHORT


def _table_texts(path: Path, columns: Mapping[str, str]) -> tuple[dict[str, Source], str, list[str]]:
    wanted = {role: name for role, name in columns.items() if role != "label"}
    raw: Raw = read_path(path, modality="text", columns=wanted, task="generation")
    tables, splits = {}, dict[str, Source]()
    for split, rows in raw.splits.items():
        texts = [" ".join(texts_of(item)) for item in rows.inputs]
        tables[split] = Table({"input": texts, "label": [0] * len(texts)})
        splits[split] = Texts(texts, lines=median(map(len, texts[:200])) <= _SHORT if texts else True)
    return splits, fingerprint(tables, (), "text", str(raw.root)), raw.notes


def _fit(source: Source, every: int, path: Path) -> int:
    """``every``, or the number of documents where there are fewer, so that one of them is held out."""
    count = sum(1 for _ in islice(source, every))
    if count == 0:
        raise DataError(f"{path} holds no text.", "Check that the file was written completely.")
    if count == 1:
        raise DataError(f"{path} holds a single document.", "Add documents: in text files each line is one.")
    return min(every, count)


def _cut(source: Source, cut: Cut) -> Source:
    if isinstance(source, TextFiles):
        return TextFiles(source.paths, cut, source.lines)
    return Texts(list(source), cut, source.lines)


def _decode(line: bytes, ends: bool = True) -> str | None:
    try:
        return None if b"\0" in line else codecs.utf_8_decode(line, "strict", ends)[0]
    except UnicodeDecodeError:
        return None


def _pieces(path: Path) -> Iterator[tuple[bytes, bool]]:
    """The lines of a file, long ones in pieces: (bytes, True for a line's first piece)."""
    with open(path, "rb") as file:
        tail, is_first = file.read(LONGEST).removeprefix(b"\xef\xbb\xbf"), True
        while True:
            *lines, tail = _LINE_END.split(tail)
            for line in lines:
                while len(line) > LONGEST:
                    piece, line = _break(line)
                    yield piece, is_first
                    is_first = False
                yield line, is_first
                is_first = True
            while len(tail) > LONGEST:
                piece, tail = _break(tail)
                yield piece, is_first
                is_first = False
            if not (chunk := file.read(LONGEST)):
                break
            tail += chunk
        if tail:
            yield tail, is_first


def _break(line: bytes) -> tuple[bytes, bytes]:
    """A line in two: at the last space of its first MiB, else between two characters."""
    place = line.rfind(b" ", 1, LONGEST)
    if place < 0:
        place = LONGEST
        while place > LONGEST - 4 and line[place] & 0xC0 == 0x80:  # inside a UTF-8 character
            place -= 1
    return line[:place], line[place:]
