"""Batches from a store, in an order that is a function of (seed, epoch) alone. Rows that differ in length are put
together by length; pairs, which have two lengths, are not."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from zoo.data.bucket import by_length, longest_first, token_cuts
from zoo.data.clips import Crops
from zoo.data.dataset import DataSet
from zoo.data.draws import HashDraws, permutation
from zoo.data.events import ticks
from zoo.data.generated import GeneratedStore
from zoo.data.mix import Mix, apply_mix
from zoo.data.pair_store import PairCrops, PairStore
from zoo.data.ragged import RaggedRows, ragged
from zoo.data.store import Rows, columns
from zoo.protocols import IGNORE, Batch, Pipeline
from zoo.units import spell
from zoo_registry.errors import UsageError

__all__ = ["Eval", "Labels", "Mix", "Train", "label_array"]

T = TypeVar("T")


Labels = np.ndarray | RaggedRows
"""One label a row; of a length of its own where a sample has several, which batches pad with IGNORE."""


def label_array(dataset: DataSet, split: str, kept: np.ndarray | Sequence[int]) -> Labels:
    """Labels of the n table rows ``kept`` (a store's ``.kept``), by the task:

    - ``multi-label``: float32 (n, C) zeros and ones;
    - ``regression``: float32 (n,);
    - ``token-classification``: rows of int64 tag ids, one a word;
    - ``transcription``: rows of int64 ids of the units that spell the transcript (:mod:`zoo.units`);
    - ``frame-classification``: rows of int64 class ids, one every :data:`zoo.data.events.TICK` of the recording;
    - ``question-answering``: int64 (n, 2) first and last token of the answer;
    - ``embedding``: float32 (n,) similarities where the data has some, else int64 zeros;
    - others: int64 (n,) ids of classes or speakers, or zeros.
    """
    values = dataset.splits[split].columns["label"]
    chosen: list[Any] = [values[row] for row in kept]
    if dataset.task == "regression" or (dataset.task == "embedding" and any(isinstance(v, float) for v in chosen)):
        return np.array(chosen, dtype=np.float32)
    if dataset.task == "multi-label":
        array = np.zeros((len(chosen), len(dataset.labels)), dtype=np.float32)
        for row, ids in enumerate(chosen):
            array[row, ids] = 1.0
        return array
    if dataset.task == "token-classification":
        return ragged(chosen, np.int64, fill=IGNORE)
    if dataset.task == "transcription":
        return ragged([spell(text, dataset.labels) for text in chosen], np.int64, fill=IGNORE)
    if dataset.task == "frame-classification":
        return ragged([ticks(events) for events in chosen], np.int64, fill=IGNORE)
    if dataset.task == "question-answering":
        return np.array(chosen, dtype=np.int64).reshape(-1, 2)
    return np.array(chosen, dtype=np.int64)


class Train:
    """:class:`zoo.protocols.TrainBatches` of a split: shuffled each epoch, transformed and mixed per sample.

    Items of unequal length come in batches of like lengths (see :mod:`zoo.data.bucket`), in random order.

    Args:
        store: decoded items, or parts of them that are others each epoch.
        labels: one a store row, as from :func:`label_array`.
        pipeline: of the store.
        batch_size: samples of one optimizer step, over all ranks and micro-batches. The rest of an epoch is left out
            (other samples each epoch); a split smaller than this makes one batch an epoch.
        seed: of sample order and augmentation.
        mix: mixup or CutMix on top of the pipeline's augmentation.
        batch_tokens: tokens (of sound: samples) of one optimizer step, padding included, instead of ``batch_size``:
            then each epoch has every sample, in batches of as many as fit.

    A batch's ``index`` holds store rows.

    Raises:
        UsageError: ``batch_tokens`` for items of one length, or a size below 1.
    """

    def __init__(
        self,
        store: Rows | Crops | PairStore | PairCrops,
        labels: Labels,
        pipeline: Pipeline,
        *,
        batch_size: int,
        seed: int,
        mix: Mix | None = None,
        batch_tokens: int | None = None,
    ) -> None:
        _check(store, labels, batch_size, batch_tokens)
        self.store, self.labels, self.pipeline, self.seed, self.mix = store, labels, pipeline, seed, mix
        self.samples = len(store)
        self.batch_size = min(batch_size, self.samples)
        self.lengths = store.lengths
        self.cuts: np.ndarray | None = None
        self.steps_per_epoch, self.smallest = max(1, self.samples // batch_size), self.batch_size
        if batch_tokens is not None and self.lengths is not None:
            # Where to cut depends on the sorted lengths alone, so it is the same in each epoch.
            self.cuts = token_cuts(np.sort(self.lengths)[::-1], batch_tokens)
            self.steps_per_epoch = len(self.cuts) + 1
            self.smallest = int(np.diff(self.cuts, prepend=0, append=self.samples).min())

    def rows(self, start: int, stop: int, rank: int = 0, world: int = 1) -> Iterator[np.ndarray]:
        """Store rows of this rank's share of each step's batch."""
        if world > self.smallest:
            raise UsageError(
                f"A batch of {self.smallest} cannot be shared by {world} processes.",
                f"Start fewer processes or raise --batch-{'size' if self.cuts is None else 'tokens'}.",
            )
        batches: Sequence[np.ndarray] = ()
        planned = -1
        for step in range(start, stop):
            epoch, position = divmod(step, self.steps_per_epoch)
            if epoch != planned:
                batches, planned = self._plan(epoch), epoch
            yield batches[position][rank::world]

    def _plan(self, epoch: int) -> Sequence[np.ndarray]:
        """The batches of an epoch: a function of (seed, epoch)."""
        order = permutation(self.seed, epoch, self.samples)
        if self.lengths is None:
            return order[: self.steps_per_epoch * self.batch_size].reshape(-1, self.batch_size)  # type: ignore[return-value]
        if self.cuts is not None:
            batches = np.split(longest_first(order, self.lengths), self.cuts)
        else:
            batches = by_length(order, self.lengths, self.batch_size)
        # No epoch is negative, so no sample order is drawn from the same numbers.
        return [batches[place] for place in permutation(self.seed, -1 - epoch, len(batches))]

    def stream(self, start: int, stop: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """See :class:`zoo.protocols.TrainBatches`."""
        return _prefetch(self._stream(start, stop, rank, world))

    def _stream(self, start: int, stop: int, rank: int, world: int) -> Iterator[Batch]:
        while start < stop:
            epoch = start // self.steps_per_epoch
            end = min(stop, (epoch + 1) * self.steps_per_epoch)
            store, labels = self._at(epoch)
            yield from _batches(store, labels, self.pipeline.input_name, self.rows(start, end, rank, world))
            start = end

    def _at(self, epoch: int) -> tuple[Rows | PairStore, Labels]:
        """What an epoch's batches are taken from."""
        if isinstance(self.store, PairCrops):
            return self.store.at(self.seed, epoch), self.labels
        if not isinstance(self.store, Crops):
            return self.store, self.labels
        crops = self.store.at(self.seed, epoch)
        return crops, crops.labels(self.labels)

    def transform(self, batch: Batch, epoch: int) -> Batch:
        """Augmentation, then the mix: a function of (seed, epoch, index), but for the mix's partner."""
        draws = HashDraws(self.seed, epoch, batch["index"])
        batch = self.pipeline.augment(_made(self.store, batch), draws)
        return apply_mix(batch, self.pipeline.input_name, self.mix, draws) if self.mix else batch


class Eval:
    """:class:`zoo.protocols.EvalBatches` of a split; ``index`` holds store rows.

    Items of one length come in the store's order. Others come longest first, in batches of like lengths: there is
    little padding, and memory that runs out does so at once.

    Args:
        batch_size: samples of one forward pass of one rank.
        batch_tokens: tokens (of sound: samples) of one forward pass of one rank, padding included, instead of
            ``batch_size``.
    """

    def __init__(
        self,
        store: Rows | PairStore,
        labels: Labels,
        pipeline: Pipeline,
        *,
        batch_size: int,
        batch_tokens: int | None = None,
    ) -> None:
        _check(store, labels, batch_size, batch_tokens)
        self.store, self.labels, self.pipeline, self.batch_size = store, labels, pipeline, batch_size
        self.batch_tokens = batch_tokens
        self.samples = len(store)

    def rows(self, rank: int = 0, world: int = 1) -> Iterator[np.ndarray]:
        """Store rows of each of this rank's batches."""
        order, lengths = np.arange(self.samples), self.store.lengths
        mine = (order if lengths is None else longest_first(order, lengths))[rank::world]
        cuts = np.arange(self.batch_size, len(mine), self.batch_size)
        if lengths is not None and self.batch_tokens is not None and len(mine):
            cuts = token_cuts(lengths[mine], self.batch_tokens)
        return (batch for batch in np.split(mine, cuts) if len(batch))

    def stream(self, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """See :class:`zoo.protocols.EvalBatches`."""
        rows = self.rows(rank, world)
        return _prefetch(_batches(self.store, self.labels, self.pipeline.input_name, rows))

    def transform(self, batch: Batch) -> Batch:
        """The pipeline's deterministic transform."""
        return self.pipeline.prepare(_made(self.store, batch))


def _made(store: Any, batch: Batch) -> Batch:
    """The batch with the items that are made on its device."""
    return store.made(batch) if isinstance(store, GeneratedStore) else batch


def _check(
    store: Rows | Crops | PairStore | PairCrops, labels: Labels, batch_size: int, batch_tokens: int | None
) -> None:
    if len(labels) != len(store):
        raise ValueError(f"{len(labels)} labels for {len(store)} items: pass label_array(dataset, split, store.kept)")
    if batch_size < 1:
        raise UsageError(f"The batch size is {batch_size}.", "Give a batch size of 1 or more.")
    if batch_tokens is not None and (batch_tokens < 1 or store.lengths is None):
        why = "is below 1" if store.lengths is not None else "says nothing where all inputs have one length"
        raise UsageError(f"A batch of {batch_tokens} tokens {why}.", "Give a batch size instead.")


def _batches(store: Rows | PairStore, labels: Labels, name: str, rows: Iterable[np.ndarray]) -> Iterator[Batch]:
    pin = torch.cuda.is_available()
    for chosen in rows:
        if isinstance(store, PairStore | GeneratedStore):
            found = store.columns(chosen)
        else:
            found = columns(store, name, chosen)
        batch = {
            **{column: torch.from_numpy(array) for column, array in found.items()},
            "label": torch.from_numpy(labels[chosen] if isinstance(labels, np.ndarray) else labels.take(chosen)),
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
