"""Vision backbones on log-mel spectrograms. Imports no torch."""

from __future__ import annotations

from zoo_registry.specs import ModelSpec

SPECTROGRAM_MODELS: tuple[ModelSpec, ...] = ()
