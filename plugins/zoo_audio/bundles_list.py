"""The torchaudio bundles: wav2vec 2.0, HuBERT, WavLM. Imports no torch."""

from __future__ import annotations

from zoo_registry.specs import ModelSpec, WeightsSpec

BUNDLES: tuple[ModelSpec, ...] = ()
BUNDLE_WEIGHTS: tuple[WeightsSpec, ...] = ()
