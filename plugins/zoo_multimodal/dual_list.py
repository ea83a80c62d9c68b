"""Two backbones of the registry as one model of pairs. Imports no torch."""

from __future__ import annotations

from zoo_registry.specs import ModelSpec

DUAL_MODELS: tuple[ModelSpec, ...] = ()
