"""Recordings as parts of bounded length: a random part each epoch to train on, or windows that cover all of them.

Whatever they are cut from, no batch holds more than its windows, so memory does not follow the longest recording.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from zoo.data.draws import HashDraws
from zoo.data.ragged import RaggedRows
from zoo.data.store import Divisible
from zoo.padding import padded
from zoo.windowing import window_starts


class Pieces:
    """A :class:`zoo.data.store.Store` whose row ``i`` is a part of row ``owner[i]`` of another.

    Args:
        store: of whole items.
        owner, first, lengths: (n,) int64: store row, where in it the part begins, and how long it is.
        key: see :class:`zoo.data.store.Store`.

    Attributes:
        kept: ``range(n)``: a table of these rows has one entry for each part.
    """

    def __init__(self, store: Divisible, owner: np.ndarray, first: np.ndarray, lengths: np.ndarray, key: str) -> None:
        self.store, self.owner, self.first, self.key = store, owner, first, key
        self.lengths: np.ndarray = lengths
        self.kept, self.bad = np.arange(len(owner), dtype=np.int64), store.bad

    def __len__(self) -> int:
        return len(self.owner)

    def each(self, rows: Iterable[int] | np.ndarray) -> list[np.ndarray]:
        """The parts, as they are."""
        chosen = np.fromiter(rows, np.int64)
        return self.store.parts(self.owner[chosen], self.first[chosen], self.lengths[chosen])

    def take(self, rows: np.ndarray) -> np.ndarray:
        """(len(rows), longest of them, ...), padded at the end with zeros."""
        pieces = self.each(rows)
        return padded(pieces, pieces[0].shape[1:], pieces[0].dtype)

    def labels(self, labels: np.ndarray | RaggedRows) -> np.ndarray | RaggedRows:
        """Labels of the whole items, one a store row, as labels of the parts.

        Where an item has a row of labels, they stand at even distances along it, and a part has those of its stretch:
        to the nearest one.
        """
        if isinstance(labels, np.ndarray):
            return labels[self.owner]
        whole = np.asarray(self.store.lengths)[self.owner]
        counts = labels.lengths[self.owner]
        begin, end = (_share(counts, place, whole) for place in (self.first, self.first + self.lengths))
        return RaggedRows(labels.flat, labels.starts[self.owner] + begin, end - begin, labels.fill)


class Windows(Pieces):
    """All windows of the items, an item's in order and one after another: see :func:`zoo.windowing.window_starts`.

    Args:
        store: of whole items.
        window: samples; 0: whole items.
    """

    def __init__(self, store: Divisible, window: int) -> None:
        lengths = np.asarray(store.lengths)
        starts = [window_starts(int(length), window) for length in lengths]
        owner = np.repeat(np.arange(len(lengths), dtype=np.int64), list(map(len, starts)))
        pieces = lengths[owner] if window <= 0 else np.minimum(lengths[owner], window)
        super().__init__(store, owner, np.concatenate(starts), pieces, f"{store.key}/windows/{window}")


class Crops:
    """One part of each item, another each epoch: what :class:`zoo.data.batches.Train` takes in place of a store.

    Args:
        store: of whole items.
        window: samples; what is shorter stays whole.

    Attributes:
        lengths: (n,) int64 of the parts, the same in all epochs.
    """

    def __init__(self, store: Divisible, window: int) -> None:
        self.store, self.window = store, window
        self.lengths: np.ndarray = np.minimum(np.asarray(store.lengths), window)

    def __len__(self) -> int:
        return len(self.lengths)

    def at(self, seed: int, epoch: int) -> Pieces:
        """The parts of an epoch: a function of (seed, epoch, row), each beginning as likely as any other."""
        rows = np.arange(len(self), dtype=np.int64)
        u = HashDraws(seed, epoch, torch.from_numpy(rows)).uniform("crop", 1)[:, 0].double().numpy()
        room = np.asarray(self.store.lengths) - self.lengths
        first = np.minimum((u * (room + 1)).astype(np.int64), room)
        return Pieces(self.store, rows, first, self.lengths, f"{self.store.key}/crops/{self.window}/{seed}/{epoch}")


def no_longer_than(store: Divisible, longest: int) -> Pieces:
    """The items of at most ``longest`` samples, whole."""
    lengths = np.asarray(store.lengths)
    owner = np.flatnonzero(lengths <= longest)
    return Pieces(store, owner, np.zeros_like(owner), lengths[owner], f"{store.key}/at most {longest}")


def _share(counts: np.ndarray, place: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``counts * place / whole``, rounded."""
    return (2 * counts * place + whole) // (2 * whole)
