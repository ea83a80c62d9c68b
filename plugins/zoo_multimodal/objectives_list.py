"""What is learnt from pairs. Imports no torch."""

from __future__ import annotations

from zoo_registry.specs import ObjectiveSpec

OBJECTIVES: tuple[ObjectiveSpec, ...] = ()
