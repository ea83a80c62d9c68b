"""Networks of sound to train from random numbers. Imports no torch."""

from __future__ import annotations

from zoo_registry.specs import ModelSpec

SCRATCH_MODELS: tuple[ModelSpec, ...] = ()
