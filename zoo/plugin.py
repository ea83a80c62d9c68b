"""The ``core`` plugin: heads that fit the pooled features of any modality. Imports no torch."""

from __future__ import annotations

from zoo_registry.hooks import hookimpl
from zoo_registry.specs import HeadSpec


@hookimpl
def zoo_heads() -> list[HeadSpec]:
    return [
        HeadSpec(
            name="classification",
            builder="zoo.heads:ClassificationHead",
            task="classification",
            summary="A linear layer on pooled features, cross entropy.",
        ),
        HeadSpec(
            name="multi-label",
            builder="zoo.heads:MultiLabelHead",
            task="multi-label",
            summary="A linear layer on pooled features, one yes or no a class.",
        ),
        HeadSpec(
            name="regression",
            builder="zoo.heads:RegressionHead",
            task="regression",
            summary="A linear layer on pooled features, squared error in units of the targets' spread.",
        ),
    ]
