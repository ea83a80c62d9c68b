"""Data sets of pairs. Imports no torch."""

from __future__ import annotations

from zoo_registry.specs import DatasetSpec

DATASETS: tuple[DatasetSpec, ...] = (
    DatasetSpec(
        name="shapes_captions",
        modality="image-text",
        task="pretraining",
        sample="zoo_multimodal.sample_shapes:write_shapes_captions",
        license="apache-2.0",
        summary="4,100 drawn pictures of one or two shapes with a sentence each; comes with zoo.",
    ),
)
