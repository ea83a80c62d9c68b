"""What the export of a model of pairs is measured on: validation pairs of the run, else drawn inputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.exporting.drawn import drawn
from zoo.exporting.parity import pick
from zoo.pair_measure import run_pairs
from zoo_registry.registry import Registry

PAIRS = 500
DRAWN = 64


@dataclass(frozen=True)
class PairSamples:
    """Raw inputs of both sides.

    Attributes:
        items: of each side, one entry a pair.
        name: ``"val"`` or ``"drawn"``; what is drawn on one side has nothing to do with the other.
    """

    items: tuple[list[Any], list[Any]]
    name: str

    @property
    def described(self) -> str:
        return "validation pairs" if self.name == "val" else "drawn inputs of each side"


def samples_of(target: str | Path, modalities: tuple[str, str], registry: Registry) -> PairSamples:
    """Of a run of pairs some of its validation split, drawn by a fixed seed; of anything else drawn inputs."""
    path = Path(target)
    if (path / "manifest.json").is_file() and (path / "config.yaml").is_file():
        table = run_pairs(path, registry).splits["val"]
        rows = pick(len(table), PAIRS)
        given = [table.columns["input"][row] for row in rows]
        return PairSamples(([pair[0] for pair in given], [pair[1] for pair in given]), "val")
    first, second = modalities
    return PairSamples((drawn(first, DRAWN), drawn(second, DRAWN)), "drawn")
