"""Which models fit a question; what `zoo list` and :func:`zoo.list_models` share."""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from zoo.local import LocalWeights
from zoo_registry.builders import installed
from zoo_registry.registry import Entry, Registry
from zoo_registry.specs import WeightsSpec


@dataclass(frozen=True)
class Query:
    """The filters of `zoo list`; unset ones let everything pass."""

    pattern: str = ""
    modality: str | None = None
    family: str | None = None
    max_params: int | None = None
    license: str | None = None
    task: str | None = None
    installed: bool = False


class Row(NamedTuple):
    """A model that fits, and the checkpoint that stands for it: the default, or one that is here if that was asked."""

    entry: Entry
    weights: WeightsSpec | None


def select(registry: Registry, query: Query) -> Iterator[Row]:
    """The models that fit, in the registry's order."""
    fits = _name_test(query.pattern)
    local = LocalWeights()
    importable = functools.cache(installed)
    modalities = {m for e in registry.heads() if e.spec.task == query.task for m in e.spec.modalities}
    for entry in registry.models():
        spec = entry.spec
        if query.modality and spec.input.modality != query.modality:
            continue
        if query.family and spec.family != query.family:
            continue
        if query.max_params is not None and (spec.params is None or spec.params > query.max_params):
            continue
        if query.task and not modalities & {"any", spec.input.modality}:
            continue
        if query.pattern and not any(map(fits, (entry.id, spec.name, *spec.aliases))):
            continue
        checkpoints = registry.weights_of(entry.id)
        weights = next((w for w in checkpoints if w.tag == spec.default_weights), None)
        if (
            query.license
            and query.license.lower() not in ((weights.license if weights else "") or spec.license).lower()
        ):
            continue
        if query.installed:
            ready = [w for w in checkpoints if local.find(entry.id, w)] if all(map(importable, spec.requires)) else []
            if not ready:
                continue
            weights = weights if weights in ready else ready[0]
        yield Row(entry, weights)


def _name_test(pattern: str) -> Callable[[str], bool]:
    wanted = pattern.lower()
    if any(sign in wanted for sign in "*?["):
        return lambda name: fnmatch.fnmatchcase(name.lower(), wanted)
    return lambda name: wanted in name.lower()
