"""Decode once: every item of a split as one row of a memory map, or decoded on demand where that would not fit."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import psutil

from zoo.console import say as say_to_stderr
from zoo.data.dataset import Table
from zoo.data.decoding import Bad, decode_all, decode_now, is_ragged, refuse_many
from zoo.data.folder_cache import DISK_FULL, build_folder
from zoo.data.generated import Generated, GeneratedStore
from zoo.data.items import identity
from zoo.data.ragged import ITEMS, RaggedRows, RaggedWriter, map_file, open_ragged
from zoo.padding import padded
from zoo.paths import cache_dir
from zoo.protocols import Pipeline
from zoo_registry.errors import DataError

INDEX = "index.json"


class Rows(Protocol):
    """Arrays that batches are taken from."""

    @property
    def lengths(self) -> np.ndarray | None:
        """(len(self),) int64 length of each row; None where all rows have one shape."""
        ...

    def __len__(self) -> int: ...

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The items of ``rows``, in that order: (len(rows), *shape), a fresh array. Items that differ in length are
        padded at their end with zeros to the longest of them."""
        ...


class Store(Rows, Protocol):
    """The decoded items of a split. Row ``i`` of the store is row ``kept[i]`` of the table.

    Attributes:
        key: text that changes whenever the pipeline's decoding or any item does.
        kept: (len(store),) int64 table rows that decoded, ascending.
        bad: (what, why) of the others, in table order.
    """

    key: str
    kept: np.ndarray
    bad: list[tuple[str, str]]

    def each(self, rows: Iterable[int] | np.ndarray) -> list[np.ndarray]:
        """The items of ``rows`` as they are, without padding; not to be written to."""
        ...


class Divisible(Store, Protocol):
    """A :class:`Store` of items of unequal length, of which parts can be taken."""

    def parts(self, rows: np.ndarray, first: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
        """``lengths[i]`` elements of the item of row ``rows[i]`` from ``first[i]`` on; not to be written to. Memory
        holds little more than the parts, however long the items are."""
        ...


class MappedStore:
    """A :class:`Store` on a read-only memory map: the system's page cache decides what stays in memory.

    Args:
        array: (n, *shape).
    """

    lengths = None

    def __init__(self, array: np.ndarray, key: str, total: int, bad: Bad) -> None:
        self.array, self.key = array, key
        self.kept, self.bad = _split(total, bad)

    def __len__(self) -> int:
        return len(self.kept)

    def take(self, rows: np.ndarray) -> np.ndarray:
        return self.array[np.asarray(rows)]

    def each(self, rows: Iterable[int] | np.ndarray) -> list[np.ndarray]:
        return [self.array[row] for row in rows]


class RaggedStore:
    """A :class:`Store` of items of unequal length on read-only memory maps: :class:`zoo.data.ragged.RaggedRows`."""

    def __init__(self, items: RaggedRows, key: str, total: int, bad: Bad) -> None:
        self.items, self.key = items, key
        self.kept, self.bad = _split(total, bad)
        self.lengths, self.take, self.each, self.parts = items.lengths, items.take, items.each, items.parts

    def __len__(self) -> int:
        return len(self.kept)


class LiveStore:
    """A :class:`Store` that decodes on demand. Which items decode, and to what lengths, was found by one pass before.

    Args:
        lengths: of the items that decode, where they differ.
    """

    def __init__(
        self, table: Table, pipeline: Pipeline, key: str, bad: Bad, lengths: Sequence[int] | None = None
    ) -> None:
        self.key = key
        self.kept, self.bad = _split(len(table), bad)
        self.lengths = None if lengths is None else np.array(lengths, dtype=np.int64)
        self.items = table.columns["input"]
        self.pipeline = pipeline
        self.pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="zoo-decode")

    def __len__(self) -> int:
        return len(self.kept)

    def take(self, rows: np.ndarray) -> np.ndarray:
        arrays, pipeline = self.each(rows), self.pipeline
        if self.lengths is not None:
            return padded(arrays, pipeline.shape[1:], pipeline.dtype)
        return np.stack(arrays) if arrays else np.empty((0, *pipeline.shape), pipeline.dtype)

    def each(self, rows: Iterable[int] | np.ndarray) -> list[np.ndarray]:
        return decode_now([self.items[self.kept[row]] for row in rows], self.pipeline, self.pool)

    def parts(self, rows: np.ndarray, first: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
        """See :class:`Divisible`: each item is decoded once, as many at a time as there are threads."""

        def cut(places: np.ndarray) -> list[np.ndarray]:
            whole = self.pipeline.decode(self.items[self.kept[rows[places[0]]]])
            return [whole[first[place] : first[place] + lengths[place]].copy() for place in places]

        groups = [np.flatnonzero(rows == row) for row in dict.fromkeys(rows.tolist())]
        found: list[Any] = [None] * len(rows)
        for places, pieces in zip(groups, self.pool.map(cut, groups), strict=True):
            for place, piece in zip(places, pieces, strict=True):
                found[place] = piece
        return found


@dataclass(frozen=True)
class Survey:
    """What one pass over the items found: the bad ones, and the lengths of the others where they differ."""

    bad: Bad
    lengths: list[int] | None


class _OverLimitError(Exception):
    """The decoded items grew above what they may take."""


def columns(rows: Rows, name: str, chosen: np.ndarray) -> dict[str, np.ndarray]:
    """The items of some rows as a batch holds them: under ``name``, and ``length`` where they differ in it."""
    found = {name: rows.take(chosen)}
    return found if rows.lengths is None else {**found, "length": rows.lengths[chosen]}


def build_store(
    table: Table,
    pipeline: Pipeline,
    *,
    cache_limit: int | None = None,
    max_bad: float = 0.05,
    say: Callable[[str], None] = say_to_stderr,
) -> Store:
    """The table's inputs, decoded by ``pipeline``.

    The decoded items are kept under ``cache_dir()/decoded`` for the next run with the same items and pipeline; they
    appear there complete or not at all. Above ``cache_limit`` nothing is kept: one pass finds the items that do not
    decode (its result is kept), then each batch is decoded when asked for, with the same rows in the same order. Items
    that are generated are then made on the device that trains, batch by batch.

    Args:
        table: its ``input`` column holds what ``pipeline.decode`` takes.
        cache_limit: bytes the decoded items may take; None: half the free disk, and at most four times the memory,
            beyond which random reads of the map would come from the disk anyway. 0: always decode on demand.
        max_bad: share of items that may fail to decode.
        say: takes one line of talk.

    Raises:
        DataError: there are no items, or more than ``max_bad`` of them do not decode.
        PluginError: the pipeline decodes to another shape or dtype than it declares.
    """
    items = table.columns["input"]
    if not items:
        raise DataError("There is nothing to decode: the split has no items.", "Check the data's folder or table.")
    key = _key(items, pipeline)
    folder = cache_dir() / "decoded" / key
    store = _open(folder, pipeline, key, len(items))
    if store is None:
        limit = _default_limit(folder) if cache_limit is None else cache_limit
        store = _build(folder, items, pipeline, key, limit, max_bad, say)
    if store is None and isinstance(items[0], Generated):
        return GeneratedStore(items, pipeline, key)
    if store is None:
        survey = _survey(folder, items, pipeline, max_bad, say)
        store = LiveStore(table, pipeline, key, survey.bad, survey.lengths)
    _judge(store.bad, len(items), max_bad, say)
    return store


def _key(items: Sequence[Any], pipeline: Pipeline) -> str:
    digest = hashlib.sha256(f"1\0{pipeline.key}\0{pipeline.shape}\0{pipeline.dtype.str}".encode())
    for item in items:
        digest.update(b"\n" + identity(item, pipeline.modality).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:40]


def _default_limit(folder: Path) -> int:
    existing = next(parent for parent in folder.parents if parent.exists())
    return min(shutil.disk_usage(existing).free // 2, 4 * psutil.virtual_memory().total)


def _split(total: int, bad: Bad) -> tuple[np.ndarray, list[tuple[str, str]]]:
    kept = np.setdiff1d(np.arange(total, dtype=np.int64), np.array([row for row, _, _ in bad], dtype=np.int64))
    return kept, [(what, why) for _, what, why in bad]


def _open(folder: Path, pipeline: Pipeline, key: str, total: int) -> Store | None:
    """The store of a finished cache; None where there is none or it is damaged."""
    try:
        record = json.loads((folder / INDEX).read_text("utf-8"))
        bad = [(int(row), str(what), str(why)) for row, what, why in record["bad"]]
        if is_ragged(pipeline):
            items = open_ragged(folder, total - len(bad), pipeline.shape[1:], pipeline.dtype)
            return None if items is None else RaggedStore(items, key, total, bad)
        array = map_file(folder / ITEMS, pipeline.dtype, pipeline.shape)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return MappedStore(array, key, total, bad) if len(array) == total - len(bad) else None


def _build(
    folder: Path,
    items: Sequence[Any],
    pipeline: Pipeline,
    key: str,
    limit: int,
    max_bad: float,
    say: Callable[[str], None],
) -> Store | None:
    """Decode everything into the cache; None where it does not fit, which is said."""

    def write(work: Path) -> None:
        bad: Bad = []
        with RaggedWriter(work) as out:
            for array in decode_all(items, pipeline, bad, max_bad, say):
                out.add(array)
                if out.bytes > limit:
                    raise _OverLimitError
        record = {"bad": bad, "shape": pipeline.shape, "dtype": pipeline.dtype.str, "key": pipeline.key}
        (work / INDEX).write_text(json.dumps(record), encoding="utf-8")

    def read(path: Path) -> Store | None:
        return _open(path, pipeline, key, len(items))

    need = _need(folder, items, pipeline)
    try:
        if need > limit:
            raise _OverLimitError
        return build_folder(folder, write, read)
    except _OverLimitError:
        how = f"{size(need)} decoded is" if need > 1 else "what the items decode to is"
        say(f"{how} above the cache limit of {size(limit)}: items are decoded anew each epoch")
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise DataError(
                f"The decoded items cannot be written to {folder.parent}: {error.strerror}.",
                "Point ZOO_CACHE at a folder you can write to.",
            ) from error
        say(f"the disk of {folder.parent} is full: items are decoded anew each epoch instead")
    return None


def _need(folder: Path, items: Sequence[Any], pipeline: Pipeline) -> int:
    """Bytes that the decoded items take: at least 1 where nobody knows before decoding them."""
    if not is_ragged(pipeline):
        return len(items) * int(np.prod(pipeline.shape)) * pipeline.dtype.itemsize
    survey = _surveyed(folder)
    elements = sum(survey.lengths or ()) if survey else 0
    return max(1, elements * int(np.prod(pipeline.shape[1:])) * pipeline.dtype.itemsize)


def _survey(
    folder: Path, items: Sequence[Any], pipeline: Pipeline, max_bad: float, say: Callable[[str], None]
) -> Survey:
    """Which items do not decode, and how long the others are: by one pass over all, remembered beside the caches."""
    survey = _surveyed(folder)
    if survey is None:
        bad: Bad = []
        lengths = [len(array) for array in decode_all(items, pipeline, bad, max_bad, say)]
        survey = Survey(bad, lengths if is_ragged(pipeline) else None)
        _write_if_possible(_survey_file(folder), json.dumps(asdict(survey)))
    return survey


def _surveyed(folder: Path) -> Survey | None:
    try:
        found = json.loads(_survey_file(folder).read_text("utf-8"))
        bad = [(int(row), str(what), str(why)) for row, what, why in found["bad"]]
        return Survey(bad, None if found["lengths"] is None else [int(length) for length in found["lengths"]])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _survey_file(folder: Path) -> Path:
    return folder.with_name(folder.name + ".survey.json")


def _write_if_possible(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
            file.write(text)
        os.replace(file.name, path)
    except OSError:
        return  # the record only saves a pass next time, and a full disk is one reason to be here


def _judge(bad: list[tuple[str, str]], total: int, max_bad: float, say: Callable[[str], None]) -> None:
    if not bad:
        return
    refuse_many(bad, total, max_bad)
    shown = "; ".join(f"{what} ({why})" for what, why in bad[:5])
    more = f"; and {len(bad) - 5} more" if len(bad) > 5 else ""
    say(f"skipped {len(bad)} of {total} items that cannot be read: {shown}{more}")


def size(count: int) -> str:
    """Bytes for people."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
