"""Data sets of sound. Imports no torch."""

from __future__ import annotations

from zoo_registry.specs import DatasetSpec

DATASETS: tuple[DatasetSpec, ...] = ()
