"""Pairs of two modalities: what they are called, and a pipeline made of the two sides' own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo_registry.errors import PluginError

if TYPE_CHECKING:
    from zoo.protocols import Backbone, Batch, Draws, Pipeline
    from zoo_registry.specs import InputSpec

SHARED = ("index", "label")
"""What a batch of pairs holds once."""


def sides(modality: str) -> tuple[str, str] | None:
    """``"image-text"`` -> ``("image", "text")``; None for a single modality."""
    first, dash, second = modality.partition("-")
    return (first, second) if dash else None


def side_of(batch: Batch, modality: str) -> Batch:
    """One side's own batch out of a batch of pairs: its tensors under their own names, and ``index``."""
    start = f"{modality}."
    side = {name.removeprefix(start): value for name, value in batch.items() if name.startswith(start)}
    return {**side, "index": batch["index"]} if "index" in batch else side


def put_side(batch: Batch, modality: str, side: Batch) -> Batch:
    """The batch of pairs with one side replaced by that side's own batch; :func:`side_of` gives it back."""
    start = f"{modality}."
    rest = {name: value for name, value in batch.items() if not name.startswith(start)}
    return {**rest, **{start + name: value for name, value in side.items() if name not in SHARED}}


def side_inputs(input: InputSpec) -> tuple[InputSpec, InputSpec]:
    """The contracts of a pair's two sides; one without assets of its own is given the pair's.

    Raises:
        PluginError: the contract has not the two parts that its modality names.
    """
    parts = tuple(dataclasses.replace(part, assets=part.assets or input.assets) for part in input.parts)
    if tuple(part.modality for part in parts) != sides(input.modality):
        found = ", ".join(part.modality for part in parts) or "none"
        raise PluginError(
            f"A contract of modality {input.modality!r} needs one part for each of two sides, and has {found}.",
            "Correct the InputSpec of the model or weights in its plugin.",
        )
    first, second = parts
    return first, second


class PairPipeline:
    """A :class:`zoo.protocols.Pipeline` of pairs that leaves everything to the two sides' own; also Paired, Portable
    and Matches.

    A raw item is a tuple of one raw item for each side. A batch holds each side's tensors under ``MODALITY.NAME``.
    ``decode`` gives a tuple of two arrays, which stores keep apart, so ``shape`` and ``dtype`` say nothing.

    Args:
        first, second: pipelines of two modalities, in the order in which the modality of their pairs names them.
    """

    input_name = "pair"
    shape: tuple[int, ...] = (2,)
    dtype: np.dtype[Any] = np.dtype(object)

    def __init__(self, first: Pipeline, second: Pipeline) -> None:
        self.parts = (first, second)
        self.modality = f"{first.modality}-{second.modality}"
        self.key = f"pair/{first.key}/{second.key}"

    def decode(self, item: Any) -> Any:
        """Both sides of a raw item, decoded.

        Raises:
            DataError: as the sides' own.
        """
        return tuple(part.decode(one) for part, one in zip(self.parts, _two(item), strict=True))

    def prepare(self, batch: Batch) -> Batch:
        """Each side as its own pipeline prepares it."""
        return self._each(batch, lambda part, side: part.prepare(side))

    def augment(self, batch: Batch, draws: Draws) -> Batch:
        """Each side as its own pipeline varies it."""
        return self._each(batch, lambda part, side: part.augment(side, draws))

    def describe(self) -> dict[str, Any]:
        """Both sides' descriptions, by modality."""
        return {"kind": "pair", "parts": {part.modality: part.describe() for part in self.parts}}

    def save_assets(self, folder: Path) -> None:
        """Write the files of each side that has some."""
        from zoo.protocols import Portable  # which imports torch

        for part in self.parts:
            if isinstance(part, Portable):
                part.save_assets(folder)

    def check_backbone(self, backbone: Backbone) -> None:
        """Raises WeightsError where a side does not belong to its tower."""
        from zoo.protocols import Matches

        towers: Mapping[str, Backbone] = getattr(backbone, "towers", {})
        for part in self.parts:
            if isinstance(part, Matches) and part.modality in towers:
                part.check_backbone(towers[part.modality])

    def _each(self, batch: Batch, transform: Callable[[Pipeline, Batch], Batch]) -> Batch:
        for part in self.parts:
            batch = put_side(batch, part.modality, transform(part, side_of(batch, part.modality)))
        return batch


def _two(item: Any) -> Sequence[Any]:
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise TypeError(f"A pair is a tuple of two items, not {type(item).__name__}.")
    return item
