"""Data sets of pairs. Imports no torch."""

from __future__ import annotations

from zoo_registry.specs import DatasetSpec

DATASETS: tuple[DatasetSpec, ...] = ()
