"""The hooks a plugin may implement. All take nothing and return an iterable of records of :mod:`zoo_registry.specs`.

A plugin is a module (or object) named by an entry point of the group ``zoo.v1``; the entry point's name becomes the
namespace of everything it provides::

    from zoo_registry import ModelSpec, hookimpl

    @hookimpl
    def zoo_models():
        return [ModelSpec(name="tinynet", builder="my_package.models:build", ...)]

There is no hook into training: an installed package never changes a run that does not name it. For the same reason
wrappers around other plugins' hooks are refused.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from zoo_registry.specs import DatasetSpec, HeadSpec, ModelSpec, ObjectiveSpec, WeightsSpec

PROJECT = "zoo"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def zoo_models() -> Iterable[ModelSpec]:
    """Architectures."""
    raise NotImplementedError


@hookspec
def zoo_weights() -> Iterable[WeightsSpec]:
    """Pretrained checkpoints of this plugin's own architectures, or more tags of another's."""
    raise NotImplementedError


@hookspec
def zoo_heads() -> Iterable[HeadSpec]:
    """Finetuning heads."""
    raise NotImplementedError


@hookspec
def zoo_objectives() -> Iterable[ObjectiveSpec]:
    """Pretraining objectives."""
    raise NotImplementedError


@hookspec
def zoo_datasets() -> Iterable[DatasetSpec]:
    """Data sets known by name."""
    raise NotImplementedError


RECORDS: dict[str, type] = {
    "zoo_models": ModelSpec,
    "zoo_weights": WeightsSpec,
    "zoo_heads": HeadSpec,
    "zoo_objectives": ObjectiveSpec,
    "zoo_datasets": DatasetSpec,
}
