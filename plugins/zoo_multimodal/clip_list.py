"""open_clip's models, their towers and their checkpoints. Imports no torch."""

from __future__ import annotations

from zoo_registry.specs import ModelSpec, WeightsSpec

CLIP_MODELS: tuple[ModelSpec, ...] = ()
CLIP_WEIGHTS: tuple[WeightsSpec, ...] = ()
