"""zoo: find a pretrained backbone, finetune it, measure it, export it.

The verbs of the command line are the functions of this package (``zoo evaluate --probe`` is ``zoo.probe``). They are
looked up on first use, so that ``import zoo`` and ``zoo.list_models()`` import no torch.
"""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo_registry.registry import Registry

_VERBS = {
    "load": ("zoo.weights", "load_backbone"),
    "pretrain": ("zoo.pretraining", "pretrain"),
    "finetune": ("zoo.recipes", "finetune"),
    "evaluate": ("zoo.measure", "evaluate"),
    "probe": ("zoo.probing", "probe"),
    "predict": ("zoo.predicting", "predict"),
    "embed": ("zoo.embedding", "embed"),
    "export": ("zoo.exporting", "export"),
    "publish": ("zoo.publishing", "publish"),
}

__all__ = ["__version__", "default_registry", "list_models", *_VERBS]


@functools.cache
def default_registry() -> Registry:
    """The registry of all installed plugins, loaded once per process."""
    from zoo_registry.registry import build_registry

    return build_registry()


def list_models(
    pattern: str = "",
    *,
    modality: str | None = None,
    family: str | None = None,
    max_params: int | None = None,
    license: str | None = None,
    task: str | None = None,
    installed: bool = False,
) -> list[str]:
    """Full names of the models that fit, sorted; builds and downloads nothing.

    Args:
        pattern: part of a name, or a glob such as ``"resnet*"``; case does not matter.
        modality: ``"image"``, ``"text"``, ``"audio"`` or ``"image-text"``.
        family: architecture family, such as ``"resnet"``.
        max_params: largest number of parameters.
        license: part of the licence's name, such as ``"apache"``.
        task: a finetuning task that some head serves on the model's modality, such as ``"classification"``.
        installed: only models usable on this machine without network.
    """
    from zoo.listing import Query, select

    query = Query(pattern, modality, family, max_params, license, task, installed)
    return sorted(row.entry.id for row in select(default_registry(), query))


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata

        return metadata.version("zookit")
    if name in _VERBS:
        module, attribute = _VERBS[name]
        return getattr(importlib.import_module(module), attribute)
    raise AttributeError(f"module 'zoo' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_VERBS, "__version__"])
