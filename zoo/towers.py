"""The sides of a model of pairs, each a model by itself: what data of one side are given to. Imports no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from zoo.console import say
from zoo.local import PACKAGE, installed_package
from zoo_registry.errors import UnknownName, UsageError, ZooError

if TYPE_CHECKING:
    from zoo.config import RunConfig
    from zoo_registry.registry import Registry, ResolvedModel

Config = TypeVar("Config", bound="RunConfig")


def run_model(path: str | Path) -> str | None:
    """The model that a run, a model folder or an installed ``package:import_name`` was trained from; None where the
    path is none of them (an export has a model.json too), or cannot be read.

    Raises:
        WeightsError: no such package is installed.
    """
    if str(path).startswith(PACKAGE):
        path = installed_package(str(path))
    runs = [Path(path, "model", "model.json")]
    folders = [Path(path, "model.json")] if Path(path, "backbone.safetensors").is_file() else []
    file = next((file for file in runs + folders if file.is_file()), None)
    try:
        found = json.loads(file.read_text(encoding="utf-8"))["model_id"] if file else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None


def tower_id(pair: ResolvedModel, modality: str, registry: Registry) -> str:
    """Full name of the model that is one side of ``pair``.

    Raises:
        UnknownName, AmbiguousName: the plugin names a tower that is no model.
    """
    name = pair.spec.towers[modality]
    own = f"{pair.id.partition('/')[0]}/{name}"  # a plugin's own, whatever else has the bare name
    return registry.means(own) or registry.model(name).id


def side_of_pair(pair_id: str, model_id: str, registry: Registry) -> tuple[ResolvedModel, str] | None:
    """(the model of pairs, modality of the side) where ``model_id`` is one of its towers, else None."""
    try:
        pair = registry.model(pair_id)
        return next(((pair, side) for side in pair.spec.towers if tower_id(pair, side, registry) == model_id), None)
    except ZooError:
        return None


def pair_with(model_id: str, registry: Registry) -> tuple[ResolvedModel, str] | None:
    """(the listed model of pairs that has ``model_id`` for a tower, modality of that side), else None."""
    pairs = (entry.id for entry in registry.models() if entry.spec.towers)
    return next((found for pair in pairs if (found := side_of_pair(pair, model_id, registry))), None)


def one_side(config: Config, registry: Registry) -> Config:
    """The configuration with a tower in place of a model of pairs, or of a run of one: the side that a registered data
    set is for, else the first; said. From here on it is an ordinary model. Other models are left as they are.

    Raises:
        UsageError: the pair has no weights of its own.
        UnknownName, AmbiguousName: the model's name.
    """
    trained = run_model(config.model) if config.weights is None else None
    pair = registry.model(trained or config.model)
    if not pair.spec.towers:
        return config
    sides = tuple(pair.spec.towers)
    side = _data_modality(config.data, registry)
    side = side if side in sides else sides[0]
    names = {modality: tower_id(pair, modality, registry) for modality in sides}
    others = ", ".join(names[modality] for modality in sides if modality != side)
    say(f"model: the {side} tower of {trained or pair.id}, {names[side]} (the other side: {others})")
    weights = config.model if trained else config.weights or _tag(pair, names[side], registry)
    return config.model_copy(update={"model": names[side], "weights": weights})


def _tag(pair: ResolvedModel, tower: str, registry: Registry) -> str:
    """The named or default weights of a pair, which its tower has as well."""
    if pair.weights is None:
        raise UsageError(
            f"There are no pretrained weights of {pair.id}.",
            f"Start from random numbers with --weights none, from a run of pairs with --weights RUN, or take the tower "
            f"alone: {tower}.",
        )
    try:
        registry.model(f"{tower}@{pair.weights.tag}")
    except UnknownName:
        raise UsageError(
            f"{tower} has no weights of its own called {pair.weights.tag}.", f"Take the tower alone: {tower}."
        ) from None
    return pair.weights.tag


def _data_modality(data: str, registry: Registry) -> str | None:
    """What a data set is of, where its name tells; a path wins over a name."""
    if Path(data).exists():
        return None
    try:
        modality: str = registry.dataset(data).spec.modality
    except ZooError:
        return None
    return modality
