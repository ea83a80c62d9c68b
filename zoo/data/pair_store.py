"""Decoded pairs: one store for each side, of its distinct items, and which of them each pair is made of.

So a picture with five captions is decoded and kept once. The order of pairs is plain: they have two lengths, and
batches of like lengths would have to follow one of them, while a contrastive loss is best off with batches at random.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from zoo.console import say as say_to_stderr
from zoo.data.clips import Crops, Pieces
from zoo.data.dataset import Table
from zoo.data.decoding import refuse_many
from zoo.data.items import distinct, name_of
from zoo.data.store import Divisible, Rows, Store, build_store, columns
from zoo.protocols import Paired, Pipeline, Windowed


@dataclass(frozen=True)
class Decoded:
    """One side of a table of pairs.

    Attributes:
        part: the side's pipeline.
        inputs: its distinct raw items.
        items: those that decode.
        which: (pairs,) int64 number in ``inputs`` of each pair's.
        places: (pairs,) int64 row in ``items`` of each pair's, -1 where it does not decode.
    """

    part: Pipeline
    inputs: list[Any]
    items: Store
    which: np.ndarray
    places: np.ndarray

    def name(self, pair: int) -> str:
        """What the pair's item is called in messages."""
        return name_of(self.inputs[self.which[pair]], pair, self.part.modality)

    def reason(self, pair: int) -> str | None:
        """Why the pair's item does not decode; None where it does."""
        if self.places[pair] >= 0:
            return None
        number = int(self.which[pair])
        # Of the numbers before this one, those that are not kept have a reason each.
        return self.items.bad[number - int(np.searchsorted(self.items.kept, number))][1]


@dataclass(frozen=True)
class Side:
    """One side of some pairs.

    Attributes:
        modality: its name in batches.
        input_name: of its arrays.
        items: its distinct items.
        places: (pairs,) int64 row in ``items`` of each pair.
    """

    modality: str
    input_name: str
    items: Rows
    places: np.ndarray


class PairStore:
    """Pairs of which both sides decode. Row ``i`` is row ``kept[i]`` of the table.

    Args:
        sides: the two.
        key: text that changes whenever either side's decoding or any item does.
        kept: (n,) int64 table rows, ascending.
        bad: (what, why) of the others, in table order.
    """

    lengths = None

    def __init__(self, sides: Sequence[Side], key: str, kept: np.ndarray, bad: list[tuple[str, str]]) -> None:
        self.sides, self.key, self.kept, self.bad = tuple(sides), key, kept, bad

    def __len__(self) -> int:
        return len(self.kept)

    def columns(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The pairs of ``rows`` as a batch holds them: ``image.image``, ``text.tokens``, ``text.length``, ..."""
        return {
            f"{side.modality}.{name}": array
            for side in self.sides
            for name, array in columns(side.items, side.input_name, side.places[rows]).items()
        }


class PairCrops:
    """Pairs with sound of which random parts are heard, others in each epoch: what
    :class:`zoo.data.batches.Train` takes in place of a store.

    Args:
        store: of the pairs.
        crops: modality -> what that side's items are taken from.
    """

    lengths = None

    def __init__(self, store: PairStore, crops: dict[str, Crops]) -> None:
        self.store, self.crops = store, crops

    def __len__(self) -> int:
        return len(self.store)

    def at(self, seed: int, epoch: int) -> PairStore:
        """The pairs of an epoch: a function of (seed, epoch)."""
        sides = [
            replace(side, items=self.crops[side.modality].at(seed, epoch)) if side.modality in self.crops else side
            for side in self.store.sides
        ]
        return PairStore(sides, f"{self.store.key}/{seed}/{epoch}", self.store.kept, self.store.bad)


def decode_sides(
    pairs: Sequence[Any],
    pipeline: Paired,
    *,
    cache_limit: int | None = None,
    max_bad: float = 0.05,
    say: Callable[[str], None] = say_to_stderr,
) -> list[Decoded]:
    """Each side of the pairs, decoded by its own pipeline: :func:`zoo.data.store.build_store`.

    Args:
        pairs: tuples of two raw items.
        cache_limit, max_bad, say: as there, for each side.

    Raises:
        DataError: there are no pairs, or more than ``max_bad`` of the items of a side do not decode.
    """
    decoded = []
    for place, part in enumerate(pipeline.parts):
        inputs, which = distinct([pair[place] for pair in pairs], part.modality)
        items = build_store(Table({"input": inputs}), part, cache_limit=cache_limit, max_bad=max_bad, say=say)
        rows = np.full(len(inputs), -1, dtype=np.int64)
        rows[items.kept] = np.arange(len(items))
        decoded.append(Decoded(part, inputs, items, which, rows[which]))
    return decoded


def pair_up(
    decoded: Sequence[Decoded], *, max_bad: float = 0.05, say: Callable[[str], None] = say_to_stderr
) -> tuple[PairStore, PairCrops | None]:
    """The pairs of which both sides decode.

    Of a recording that is longer than its pipeline's window the middle is taken: one vector stands for it, so there is
    no mean over windows. Training hears random parts instead.

    Returns:
        The pairs, and what to train on in their place where some recordings are longer than a window.

    Raises:
        DataError: more than ``max_bad`` of the pairs have a side that does not decode.
    """
    total = len(decoded[0].places)
    whole = np.logical_and.reduce([side.places >= 0 for side in decoded])
    kept = np.flatnonzero(whole)
    bad = [
        (decoded[0].name(row), next(filter(None, (side.reason(row) for side in decoded))))
        for row in np.flatnonzero(~whole).tolist()
    ]
    if bad:
        refuse_many(bad, total, max_bad)
        say(f"left out {len(bad):,} of {total:,} pairs, of which one side cannot be read")
    key = hashlib.sha256(kept.tobytes())
    sides: list[Side] = []
    crops: dict[str, Crops] = {}
    for one in decoded:
        part, items = one.part, cast(Divisible, one.items)
        side = Side(part.modality, part.input_name, items, one.places[kept])
        key.update(items.key.encode() + side.places.tobytes())
        if isinstance(part, Windowed) and (long := _longer(items, part.window)):
            say(
                f"  {long:,} of {len(items):,} recordings are longer than {part.window / part.rate:g} s: training "
                "hears a random part of each, evaluation its middle (--seconds changes that length)"
            )
            crops[part.modality] = Crops(items, part.window)
            side = replace(side, items=middles(items, part.window))
        sides.append(side)
    store = PairStore(sides, key.hexdigest()[:40], kept, bad)
    return store, PairCrops(store, crops) if crops else None


def middles(store: Divisible, window: int) -> Pieces:
    """The middle of each item, of at most ``window`` samples."""
    whole = np.asarray(store.lengths)
    lengths = np.minimum(whole, window)
    return Pieces(store, np.arange(len(whole)), (whole - lengths) // 2, lengths, f"{store.key}/middles/{window}")


def _longer(items: Store, window: int) -> int:
    return int((np.asarray(items.lengths) > window).sum()) if window else 0
