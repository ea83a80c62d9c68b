"""What the multimodal plugin offers. Imports no torch."""

from __future__ import annotations

from zoo_multimodal.clip_list import CLIP_MODELS, CLIP_WEIGHTS
from zoo_multimodal.datasets_list import DATASETS
from zoo_multimodal.dual_list import DUAL_MODELS
from zoo_multimodal.heads_list import HEADS
from zoo_multimodal.objectives_list import OBJECTIVES
from zoo_registry.hooks import hookimpl
from zoo_registry.specs import DatasetSpec, HeadSpec, ModelSpec, ObjectiveSpec, WeightsSpec


@hookimpl
def zoo_models() -> list[ModelSpec]:
    return [*CLIP_MODELS, *DUAL_MODELS]


@hookimpl
def zoo_weights() -> list[WeightsSpec]:
    return [*CLIP_WEIGHTS]


@hookimpl
def zoo_heads() -> list[HeadSpec]:
    return [*HEADS]


@hookimpl
def zoo_objectives() -> list[ObjectiveSpec]:
    return [*OBJECTIVES]


@hookimpl
def zoo_datasets() -> list[DatasetSpec]:
    return [*DATASETS]
