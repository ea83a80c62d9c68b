"""Batches from a store, in an order that is a function of (seed, epoch) alone."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from zoo.data.dataset import DataSet
from zoo.data.draws import HashDraws, permutation
from zoo.data.mix import Mix, apply_mix
from zoo.data.store import Rows
from zoo.protocols import Batch, Pipeline
from zoo_registry.errors import UsageError

__all__ = ["Eval", "Mix", "Train", "label_array"]

T = TypeVar("T")


def label_array(dataset: DataSet, split: str, kept: np.ndarray | Sequence[int]) -> np.ndarray:
    """Labels of the n table rows ``kept`` (a store's ``.kept``): int64 (n,) class ids, float32 (n, C) zeros and ones
    for ``multi-label``, float32 (n,) for ``regression``."""
    values = dataset.splits[split].columns["label"]
    chosen = [values[row] for row in kept]
    if dataset.task == "regression":
        return np.array(chosen, dtype=np.float32)
    if dataset.task == "multi-label":
        array = np.zeros((len(chosen), len(dataset.labels)), dtype=np.float32)
        for row, ids in enumerate(chosen):
            array[row, ids] = 1.0
        return array
    return np.array(chosen, dtype=np.int64)


class Train:
    """:class:`zoo.protocols.TrainBatches` of a split: shuffled each epoch, transformed and mixed per sample.

    Args:
        store: decoded items.
        labels: one row a store row, as from :func:`label_array`.
        pipeline: of the store.
        batch_size: samples of one optimizer step, over all ranks and micro-batches. The ragged rest of an epoch is left
            out (other samples each epoch); a split smaller than this makes one batch an epoch.
        seed: of sample order and augmentation.
        mix: mixup or CutMix on top of the pipeline's augmentation.

    A batch's ``index`` holds store rows.
    """

    def __init__(
        self,
        store: Rows,
        labels: np.ndarray,
        pipeline: Pipeline,
        *,
        batch_size: int,
        seed: int,
        mix: Mix | None = None,
    ) -> None:
        _check(store, labels, batch_size)
        self.store, self.labels, self.pipeline, self.seed, self.mix = store, labels, pipeline, seed, mix
        self.samples = len(store)
        self.batch_size = min(batch_size, self.samples)
        self.steps_per_epoch = max(1, self.samples // batch_size)

    def rows(self, start: int, stop: int, rank: int = 0, world: int = 1) -> Iterator[np.ndarray]:
        """Store rows of this rank's share of each step's batch."""
        if world > self.batch_size:
            raise UsageError(
                f"A batch of {self.batch_size} cannot be shared by {world} processes.",
                "Start fewer processes or raise --batch-size.",
            )
        order, shuffled = np.empty(0, dtype=np.int64), -1
        for step in range(start, stop):
            epoch, position = divmod(step, self.steps_per_epoch)
            if epoch != shuffled:
                order, shuffled = permutation(self.seed, epoch, self.samples), epoch
            yield order[position * self.batch_size : (position + 1) * self.batch_size][rank::world]

    def stream(self, start: int, stop: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """See :class:`zoo.protocols.TrainBatches`."""
        rows = self.rows(start, stop, rank, world)
        return _prefetch(_batches(self.store, self.labels, self.pipeline.input_name, rows))

    def transform(self, batch: Batch, epoch: int) -> Batch:
        """Augmentation, then the mix: a function of (seed, epoch, index), but for the mix's partner."""
        draws = HashDraws(self.seed, epoch, batch["index"])
        batch = self.pipeline.augment(batch, draws)
        return apply_mix(batch, self.pipeline.input_name, self.mix, draws) if self.mix else batch


class Eval:
    """:class:`zoo.protocols.EvalBatches` of a split, in the store's order; ``index`` holds store rows.

    Args:
        batch_size: samples of one forward pass of one rank.
    """

    def __init__(self, store: Rows, labels: np.ndarray, pipeline: Pipeline, *, batch_size: int) -> None:
        _check(store, labels, batch_size)
        self.store, self.labels, self.pipeline, self.batch_size = store, labels, pipeline, batch_size
        self.samples = len(store)

    def stream(self, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """See :class:`zoo.protocols.EvalBatches`."""
        mine = np.arange(rank, self.samples, world)
        rows = (mine[first : first + self.batch_size] for first in range(0, len(mine), self.batch_size))
        return _prefetch(_batches(self.store, self.labels, self.pipeline.input_name, rows))

    def transform(self, batch: Batch) -> Batch:
        """The pipeline's deterministic transform."""
        return self.pipeline.prepare(batch)


def _check(store: Rows, labels: np.ndarray, batch_size: int) -> None:
    if len(labels) != len(store):
        raise ValueError(f"{len(labels)} labels for {len(store)} items: pass label_array(dataset, split, store.kept)")
    if batch_size < 1:
        raise UsageError(f"The batch size is {batch_size}.", "Give a batch size of 1 or more.")


def _batches(store: Rows, labels: np.ndarray, name: str, rows: Iterable[np.ndarray]) -> Iterator[Batch]:
    pin = torch.cuda.is_available()
    for chosen in rows:
        batch = {
            name: torch.from_numpy(store.take(chosen)),
            "label": torch.from_numpy(labels[chosen]),
            "index": torch.from_numpy(chosen),
        }
        # torch's own memory: the rounding of a CPU kernel may follow the alignment of its input, which numpy leaves to
        # chance, and a resumed run must repeat every bit.
        yield {key: value.pin_memory() if pin else value.clone() for key, value in batch.items()}


def _prefetch(source: Iterator[T], depth: int = 2) -> Iterator[T]:
    """The source's items, made ahead by one thread that ends with the generator; its exceptions are raised here."""
    ready: queue.Queue[T | _End] = queue.Queue(depth)
    closed = threading.Event()

    def put(item: T | _End) -> bool:
        while not closed.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return True
        return False

    def work() -> None:
        error: BaseException | None = None
        try:
            for item in source:
                if not put(item):
                    return
        except BaseException as raised:  # whatever it is, it belongs to the thread that asked
            error = raised
        put(_End(error))

    thread = threading.Thread(target=work, name="zoo-prefetch", daemon=True)
    thread.start()
    try:
        while not isinstance(item := ready.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        closed.set()
        thread.join()


@dataclass(frozen=True)
class _End:
    error: BaseException | None
