"""The contract between zoo and its plugins: records, hooks, the loader and name resolution. Imports no torch."""

from __future__ import annotations

from zoo_registry.builders import load_builder
from zoo_registry.hooks import hookimpl, hookspec
from zoo_registry.loader import Candidate, PluginRecord
from zoo_registry.registry import Entry, Registry, ResolvedModel, build_registry
from zoo_registry.specs import DatasetSpec, HeadSpec, InputSpec, ModelSpec, ObjectiveSpec, WeightsSpec

__all__ = [
    "Candidate",
    "DatasetSpec",
    "Entry",
    "HeadSpec",
    "InputSpec",
    "ModelSpec",
    "ObjectiveSpec",
    "PluginRecord",
    "Registry",
    "ResolvedModel",
    "WeightsSpec",
    "build_registry",
    "hookimpl",
    "hookspec",
    "load_builder",
]
