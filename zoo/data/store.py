"""Decode once: every item of a split as one row of a memory map, or decoded on demand where that would not fit."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import psutil

from zoo.console import say as say_to_stderr
from zoo.data.dataset import Table
from zoo.data.items import identity, name_of
from zoo.paths import cache_dir
from zoo.protocols import Pipeline
from zoo_registry.errors import DataError, PluginError

Bad = list[tuple[int, str, str]]
"""(table row, what, why) of each item that could not be decoded."""

_STALE_SECONDS = 24 * 3600
_SAY_EVERY = 5.0
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Rows(Protocol):
    """Arrays that batches are taken from."""

    def __len__(self) -> int: ...

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The items of ``rows``, in that order: (len(rows), *shape), a fresh array."""
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


class MappedStore:
    """A :class:`Store` on a read-only memory map: the system's page cache decides what stays in memory."""

    def __init__(self, folder: Path, pipeline: Pipeline, key: str, total: int, bad: Bad) -> None:
        self.key = key
        self.kept, self.bad = _split(total, bad)
        self.array = np.memmap(
            folder / "items.bin", dtype=pipeline.dtype, mode="r", shape=(len(self.kept), *pipeline.shape)
        )

    def __len__(self) -> int:
        return len(self.kept)

    def take(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(self.array[np.asarray(rows)])


class LiveStore:
    """A :class:`Store` that decodes on demand, in threads. Which items decode was found by one pass before."""

    def __init__(self, table: Table, pipeline: Pipeline, key: str, bad: Bad) -> None:
        self.key = key
        self.kept, self.bad = _split(len(table), bad)
        self.items = table.columns["input"]
        self.pipeline = pipeline
        self.pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="zoo-decode")

    def __len__(self) -> int:
        return len(self.kept)

    def take(self, rows: np.ndarray) -> np.ndarray:
        items = [self.items[row] for row in self.kept[np.asarray(rows)]]
        arrays = list(self.pool.map(self.pipeline.decode, items))
        return np.stack(arrays) if arrays else np.empty((0, *self.pipeline.shape), self.pipeline.dtype)


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
    decode (its result is kept), then each batch is decoded when asked for, with the same rows in the same order.

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
    bad = _recorded(folder / "index.json", items, pipeline)
    if bad is not None:
        _judge(bad, len(items), max_bad, say)
        return MappedStore(folder, pipeline, key, len(items), bad)

    need = len(items) * int(np.prod(pipeline.shape)) * pipeline.dtype.itemsize
    limit = _default_limit(folder) if cache_limit is None else cache_limit
    if need <= limit:
        try:
            bad = _build(folder, items, pipeline, max_bad, say)
            _judge(bad, len(items), max_bad, say)
            return MappedStore(folder, pipeline, key, len(items), bad)
        except OSError as error:
            if error.errno not in _DISK_FULL:
                raise DataError(
                    f"The decoded items cannot be written to {folder.parent}: {error.strerror}.",
                    "Point ZOO_CACHE at a folder you can write to.",
                ) from error
            say(f"the disk of {folder.parent} is full: items are decoded anew each epoch instead")
    else:
        say(f"{_size(need)} decoded is above the cache limit of {_size(limit)}: items are decoded anew each epoch")
    return LiveStore(table, pipeline, key, _find_bad(folder, items, pipeline, max_bad, say))


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


def _recorded(path: Path, items: Sequence[Any], pipeline: Pipeline) -> Bad | None:
    """The bad items a finished cache recorded; None where there is no cache or it is damaged."""
    try:
        bad = [(int(row), str(what), str(why)) for row, what, why in json.loads(path.read_text("utf-8"))["bad"]]
        size = (path.parent / "items.bin").stat().st_size
        if size == (len(items) - len(bad)) * int(np.prod(pipeline.shape)) * pipeline.dtype.itemsize:
            return bad
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None


def _judge(bad: Bad, total: int, max_bad: float, say: Callable[[str], None]) -> None:
    if not bad:
        return
    _refuse_many(bad, total, max_bad)
    shown = "; ".join(f"{what} ({why})" for _, what, why in bad[:5])
    more = f"; and {len(bad) - 5} more" if len(bad) > 5 else ""
    say(f"skipped {len(bad)} of {total} items that cannot be read: {shown}{more}")


def _refuse_many(bad: Bad, total: int, max_bad: float) -> None:
    if len(bad) <= max_bad * total and len(bad) < total:
        return
    shown = "; ".join(f"{what} ({why})" for _, what, why in bad[:5])
    raise DataError(
        f"More than {max_bad:.0%} of the {total} items cannot be read: {shown}{'; ...' if len(bad) > 5 else ''}.",
        "Repair or remove these files, or raise the share of bad items allowed.",
    )


def _build(folder: Path, items: Sequence[Any], pipeline: Pipeline, max_bad: float, say: Callable[[str], None]) -> Bad:
    """Decode everything into a folder of its own, then rename it into place: complete or not there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(folder.parent)
    work = Path(tempfile.mkdtemp(prefix=".building-", dir=folder.parent))
    try:
        bad: Bad = []
        with open(work / "items.bin", "wb") as file:
            for array in _decoded(items, pipeline, bad, max_bad, say):
                file.write(np.ascontiguousarray(array).data)
            _sync(file)
        with open(work / "index.json", "w", encoding="utf-8") as index:
            json.dump({"bad": bad, "shape": pipeline.shape, "dtype": pipeline.dtype.str, "key": pipeline.key}, index)
            _sync(index)
        return _put(work, folder, bad, items, pipeline)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _put(work: Path, folder: Path, bad: Bad, items: Sequence[Any], pipeline: Pipeline) -> Bad:
    """Rename the finished ``work`` to ``folder``; returns the bad items of what stands there then."""
    while True:
        try:
            work.rename(folder)
            return bad
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
        # Another process was first, and its cache is as good as this one - unless it is the damaged one that was the
        # reason to build: that is moved away, never deleted in place, where others may be about to open it.
        theirs = _recorded(folder / "index.json", items, pipeline)
        if theirs is not None:
            return theirs
        with contextlib.suppress(FileNotFoundError):
            folder.rename(tempfile.mkdtemp(prefix=".building-damaged-", dir=folder.parent))


def _find_bad(
    folder: Path, items: Sequence[Any], pipeline: Pipeline, max_bad: float, say: Callable[[str], None]
) -> Bad:
    """The items that do not decode: by one pass over all of them, remembered beside the caches."""
    record = folder.with_name(folder.name + ".bad.json")
    try:
        bad: Bad = [(int(row), str(what), str(why)) for row, what, why in json.loads(record.read_text("utf-8"))]
    except (OSError, ValueError, TypeError):
        bad = []
        for _ in _decoded(items, pipeline, bad, max_bad, say):
            pass
        _write_if_possible(record, json.dumps(bad))
    _judge(bad, len(items), max_bad, say)
    return bad


def _write_if_possible(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
            file.write(text)
        os.replace(file.name, path)
    except OSError:
        return  # the record only saves a pass next time, and a full disk is one reason to be here


def _decoded(
    items: Sequence[Any], pipeline: Pipeline, bad: Bad, max_bad: float, say: Callable[[str], None]
) -> Iterator[np.ndarray]:
    """The arrays of the items that decode, in order; the others are appended to ``bad``."""
    workers = os.cpu_count() or 1
    started = said = time.monotonic()
    with ThreadPoolExecutor(workers, thread_name_prefix="zoo-decode") as pool:
        for row, result in enumerate(_ordered(pool, pipeline.decode, items, ahead=4 * workers)):
            try:
                array = result.result()
            except (DataError, OSError) as error:
                why = error.problem if isinstance(error, DataError) else str(error.strerror or error)
                bad.append((row, name_of(items[row], row, pipeline.modality), why.rstrip(".")))
                _refuse_many(bad, len(items), max_bad)
                continue
            if array.shape != tuple(pipeline.shape) or array.dtype != pipeline.dtype:
                raise PluginError(
                    f"The {pipeline.modality} pipeline declares items of {pipeline.shape} {pipeline.dtype} "
                    f"but decoded one to {array.shape} {array.dtype}.",
                    "Report this to the plugin's authors.",
                )
            yield array
            if time.monotonic() - said > _SAY_EVERY:
                said = time.monotonic()
                left = (said - started) / (row + 1) * (len(items) - row - 1)
                say(f"decoding: {row + 1} of {len(items)}, {left:.0f} s left")


def _ordered(
    pool: ThreadPoolExecutor, function: Callable[[Any], np.ndarray], items: Iterable[Any], ahead: int
) -> Iterator[Future[np.ndarray]]:
    """Finished calls in the items' order, with at most ``ahead`` results in memory."""
    running: deque[Future[np.ndarray]] = deque()
    try:
        for item in items:
            running.append(pool.submit(function, item))
            if len(running) >= ahead:
                yield _finished(running.popleft())
        while running:
            yield _finished(running.popleft())
    finally:
        for future in running:
            future.cancel()


def _finished(future: Future[np.ndarray]) -> Future[np.ndarray]:
    future.exception()
    return future


def _sync(file: Any) -> None:
    file.flush()
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


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
