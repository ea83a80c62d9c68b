"""Data that is made rather than read: an item is a number, of which a plugin's maker makes pixels or samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo_registry.builders import load_builder
from zoo_registry.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.protocols import Batch, Pipeline
    from zoo_registry.specs import DatasetSpec

NUMBER = "number"
"""What a batch holds in place of items that are yet to be made: (B,) int64."""


@dataclass(frozen=True, slots=True)
class Generated:
    """An item that is made when it is asked for.

    Attributes:
        maker: ``"module:function"``, called as ``function(number, shape)`` with (B,) int64 on some device; returns the
            items on that device, (B, *shape) in the pipeline's decoded form (of images: uint8 (B, C, H, W)). Each is a
            function of its own number and the shape alone.
        version: raised whenever the maker would make another item of the same number.
        number: fits int64.
    """

    maker: str
    version: int
    number: int

    def __str__(self) -> str:
        return f"{self.maker.rpartition(':')[2]}({self.number})"


def make(maker: str, numbers: Tensor, shape: tuple[int, ...]) -> Tensor:
    """What a maker makes of numbers (B,): (B, *shape), on their device."""
    found: Tensor = load_builder(maker)(numbers, shape)
    return found


def make_arrays(items: Sequence[Generated], shape: tuple[int, ...]) -> np.ndarray:
    """The items as one array (n, *shape), made on a GPU where there is one."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    numbers = torch.tensor([item.number for item in items], dtype=torch.int64, device=device)
    array: np.ndarray = make(items[0].maker, numbers, shape).cpu().numpy()
    return array


class GeneratedStore:
    """A :class:`zoo.data.store.Store` of which nothing is kept: its batches hold numbers, and :meth:`made` puts the
    items in their place, on the device that trains.

    Args:
        items: all of one maker.
        pipeline: says what they are made as.
    """

    lengths = None

    def __init__(self, items: Sequence[Generated], pipeline: Pipeline, key: str) -> None:
        self.items, self.pipeline, self.key = items, pipeline, key
        self.numbers = np.array([item.number for item in items], dtype=np.int64)
        self.kept, self.bad = np.arange(len(items), dtype=np.int64), list[tuple[str, str]]()

    def __len__(self) -> int:
        return len(self.items)

    def columns(self, chosen: np.ndarray) -> dict[str, np.ndarray]:
        """What a batch of these rows holds before it is :meth:`made`."""
        return {NUMBER: self.numbers[chosen]}

    def made(self, batch: Batch) -> Batch:
        """The batch with items under the pipeline's name in place of their numbers, on the same device."""
        numbers = batch[NUMBER]
        kept = {name: tensor for name, tensor in batch.items() if name != NUMBER}
        return {**kept, self.pipeline.input_name: make(self.items[0].maker, numbers, self.pipeline.shape)}

    def take(self, rows: np.ndarray) -> np.ndarray:
        chosen = [self.items[row] for row in rows]
        return (
            make_arrays(chosen, self.pipeline.shape)
            if chosen
            else np.empty((0, *self.pipeline.shape), self.pipeline.dtype)
        )

    def each(self, rows: Iterable[int] | np.ndarray) -> list[np.ndarray]:
        return list(self.take(np.array(list(rows), dtype=np.int64)))


def read_settings(spec: DatasetSpec, text: str) -> dict[str, Any]:
    """The settings of a generated data set: those after its name (``"classes=50,images=20"``) over its defaults.

    Raises:
        UsageError: no such setting, or a value that is no whole number.
    """
    values: dict[str, Any] = dict(spec.options)
    for one in filter(None, text.split(",")):
        key, _, value = (part.strip() for part in one.partition("="))
        if key not in values:
            raise UsageError(f"The data set {spec.name} has no setting {key!r}.", _settings_text(spec))
        try:
            values[key] = int(value)
        except ValueError:
            raise UsageError(f"{key} of {spec.name} is {value!r}, which is no number.", _settings_text(spec)) from None
    return values


def _settings_text(spec: DatasetSpec) -> str:
    if not spec.options:
        return f"Give its name alone: {spec.name}."
    example = ",".join(f"{name}={value}" for name, value in spec.options.items())
    return f"These are its settings with their defaults: {spec.name}:{example}"


def describe_settings(values: Mapping[str, Any]) -> str:
    """``"classes=50, images=20"``."""
    return ", ".join(f"{name}={value}" for name, value in values.items())
