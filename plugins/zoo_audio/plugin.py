"""What the audio plugin offers. Imports no torch."""

from __future__ import annotations

from zoo_audio.bundles_list import BUNDLE_WEIGHTS, BUNDLES
from zoo_audio.datasets_list import DATASETS
from zoo_audio.heads_list import HEADS
from zoo_audio.objectives_list import OBJECTIVES
from zoo_audio.scratch_list import SCRATCH_MODELS
from zoo_audio.spectrogram_list import SPECTROGRAM_MODELS
from zoo_registry.hooks import hookimpl
from zoo_registry.specs import DatasetSpec, HeadSpec, ModelSpec, ObjectiveSpec, WeightsSpec


@hookimpl
def zoo_models() -> list[ModelSpec]:
    return [*BUNDLES, *SPECTROGRAM_MODELS, *SCRATCH_MODELS]


@hookimpl
def zoo_weights() -> list[WeightsSpec]:
    return [*BUNDLE_WEIGHTS]


@hookimpl
def zoo_heads() -> list[HeadSpec]:
    return [*HEADS]


@hookimpl
def zoo_objectives() -> list[ObjectiveSpec]:
    return [*OBJECTIVES]


@hookimpl
def zoo_datasets() -> list[DatasetSpec]:
    return [*DATASETS]
