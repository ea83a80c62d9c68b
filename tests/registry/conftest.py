"""Small plugins to load, well-behaved and not."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from zoo_registry import Candidate, InputSpec, ModelSpec, Registry, WeightsSpec, build_registry, hookimpl

IMAGE = InputSpec(modality="image", size=(3, 32, 32), mean=(0.5,) * 3, std=(0.5,) * 3)


def model(name: Any, **fields: Any) -> ModelSpec:
    return ModelSpec(**{"name": name, "builder": "pkg.mod:build", "pipeline": "pkg.mod:pipe", "input": IMAGE} | fields)


def weights(name: str, tag: str, **fields: Any) -> WeightsSpec:
    return WeightsSpec(**{"model": name, "tag": tag, "sources": ("hub:org/repo",)} | fields)


class Plugin:
    """A plugin that returns what it was given."""

    def __init__(self, *models: Any, weights: Any = ()) -> None:
        self.models, self.weights = models, weights

    @hookimpl
    def zoo_models(self) -> Any:
        return self.models

    @hookimpl
    def zoo_weights(self) -> Any:
        return self.weights


@pytest.fixture
def make() -> SimpleNamespace:
    """Makers of specs and plugins: ``make.model``, ``make.weights``, ``make.plugin``."""
    return SimpleNamespace(model=model, weights=weights, plugin=Plugin, image=IMAGE)


@pytest.fixture
def build() -> Callable[..., Registry]:
    """``build(vision=plugin, builtin=("vision",))``: a registry of these plugins alone. A callable plugin is called at
    load time, like the import of a module."""

    def make(builtin: tuple[str, ...] = (), **plugins: Any) -> Registry:
        candidates = [
            Candidate(
                name,
                "zookit" if name in builtin else f"dist-{name}",
                plugin if callable(plugin) else lambda plugin=plugin: plugin,
                "1.0",
            )
            for name, plugin in plugins.items()
        ]
        return build_registry(candidates, autoload=False)

    return make
