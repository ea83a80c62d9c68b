"""Items to arrays: in threads, or many at once where the pipeline can."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from zoo.data.generated import Generated, make_arrays
from zoo.data.items import name_of
from zoo.protocols import RAGGED, DecodesBatches, Pipeline
from zoo_registry.errors import DataError, PluginError

Bad = list[tuple[int, str, str]]
"""(table row, what, why) of each item that could not be decoded."""

TOGETHER = 1024
"""Items that are given to ``decode_batch`` at once."""

MADE_TOGETHER = 256
"""Items that are made at once."""

SAY_EVERY = 5.0
"""Seconds between two lines about the progress."""


def decode_all(
    items: Sequence[Any], pipeline: Pipeline, bad: Bad, max_bad: float, say: Callable[[str], None]
) -> Iterator[np.ndarray]:
    """The arrays of the items that decode, in order; the others are appended to ``bad``.

    Raises:
        DataError: more than ``max_bad`` of the items do not decode.
        PluginError: the pipeline decodes to another shape or dtype than it declares.
    """
    started = said = time.monotonic()
    for row, result in enumerate(_results(items, pipeline)):
        if isinstance(result, np.ndarray):
            _check(result, pipeline)
        if isinstance(result, np.ndarray) and (len(result) or not is_ragged(pipeline)):
            yield result
        else:
            bad.append((row, name_of(items[row], row, pipeline.modality), _why(result)))
            refuse_many(bad, len(items), max_bad)
        if time.monotonic() - said > SAY_EVERY:
            said = time.monotonic()
            left = (said - started) / (row + 1) * (len(items) - row - 1)
            say(f"decoding: {row + 1} of {len(items)}, {left:.0f} s left")


def decode_now(items: Sequence[Any], pipeline: Pipeline, pool: ThreadPoolExecutor) -> list[np.ndarray]:
    """The arrays of items of which it is known that they decode."""
    if not isinstance(pipeline, DecodesBatches):
        return list(pool.map(pipeline.decode, items))
    arrays = pipeline.decode_batch(items)
    for array in arrays:
        if isinstance(array, Exception):
            raise array
    return arrays  # type: ignore[return-value]


def is_ragged(pipeline: Pipeline) -> bool:
    """Whether decoded items have a length of their own."""
    return pipeline.shape[:1] == (RAGGED,)


def refuse_many(bad: Sequence[tuple[Any, ...]], total: int, max_bad: float) -> None:
    """Raise a DataError where more than ``max_bad`` of the items, or all, are bad: (..., what, why) each."""
    if len(bad) <= max_bad * total and len(bad) < total:
        return
    shown = "; ".join(f"{what} ({why})" for *_, what, why in bad[:5])
    raise DataError(
        f"More than {max_bad:.0%} of the {total} items cannot be read: {shown}{'; ...' if len(bad) > 5 else ''}.",
        "Repair or remove these files, or raise --max-bad, the largest share of them that is skipped.",
    )


def _results(items: Sequence[Any], pipeline: Pipeline) -> Iterator[np.ndarray | Exception]:
    """One a item: its array, or why the item is bad."""
    if isinstance(pipeline, DecodesBatches):
        for first in range(0, len(items), TOGETHER):
            yield from pipeline.decode_batch(items[first : first + TOGETHER])
        return
    if isinstance(items[0], Generated):
        for first in range(0, len(items), MADE_TOGETHER):
            yield from make_arrays(items[first : first + MADE_TOGETHER], pipeline.shape)
        return
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers, thread_name_prefix="zoo-decode") as pool:
        for future in _ordered(pool, pipeline.decode, items, ahead=4 * workers):
            try:
                yield future.result()
            except (DataError, OSError) as error:
                yield error


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


def _check(array: np.ndarray, pipeline: Pipeline) -> None:
    declared, found = tuple(pipeline.shape), array.shape
    if is_ragged(pipeline) and found:
        found = (RAGGED, *found[1:])
    if found != declared or array.dtype != pipeline.dtype:
        raise PluginError(
            f"The {pipeline.modality} pipeline declares items of {pipeline.shape} {pipeline.dtype} "
            f"but decoded one to {array.shape} {array.dtype}.",
            "Report this to the plugin's authors.",
        )


def _why(result: np.ndarray | Exception) -> str:
    if isinstance(result, np.ndarray):
        return "it is empty"
    if isinstance(result, DataError):
        return result.problem.rstrip(".")
    if isinstance(result, OSError):
        return str(result.strerror or result).rstrip(".")
    raise result
