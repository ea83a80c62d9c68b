"""From a name to a backbone with its weights in place."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.console import say
from zoo.protocols import Backbone
from zoo.weights.read import read_state
from zoo.weights.resolve import identify_weights
from zoo_registry.builders import load_builder
from zoo_registry.specs import InputSpec

if TYPE_CHECKING:
    from zoo_registry.registry import Registry


@dataclass(frozen=True)
class LoadedBackbone:
    """A backbone and where it came from.

    Attributes:
        backbone: an ``nn.Module`` on the CPU, in training mode.
        input: the input contract its pipeline must keep.
        model_id, weights_id, sha256, source: as in :class:`zoo.weights.WeightsId`.
        plugin, plugin_version: the distribution that built it.
    """

    backbone: Backbone
    input: InputSpec
    model_id: str
    weights_id: str
    sha256: str | None
    source: str
    plugin: str
    plugin_version: str


def load_backbone(
    name: str,
    *,
    weights: str | None = None,
    registry: Registry | None = None,
    size: int | None = None,
    max_length: int | None = None,
    seconds: float | None = None,
    input: InputSpec | None = None,
) -> LoadedBackbone:
    """Build a model without its classifier and load its weights, strictly. Arguments as in
    :func:`zoo.weights.identify_weights`; one line says what was taken. ``input`` replaces the input contract (with a
    tokenizer of the user's own, for a model that starts from random numbers).

    Raises:
        ZooError: as :func:`zoo.weights.identify_weights` does.
        MissingDependency: a package the model needs is not installed.
        WeightsError: the file is damaged, would run code, or does not fit: nothing but the classifier may be left over.
    """
    made = identify_weights(name, weights=weights, registry=registry, size=size, max_length=max_length, seconds=seconds)
    if input is not None:
        made = dataclasses.replace(made, input=input)
    builder = load_builder(made.spec.builder, made.spec.requires, made.spec.extra)
    state = read_state(made.path) if made.path else None
    if state is not None and made.weights is not None and made.weights.remap:
        state = load_builder(made.weights.remap, made.spec.requires, made.spec.extra)(state)
    if state is not None and made.pair is not None:
        state = load_builder(made.pair.tower_state, made.pair.requires, made.pair.extra)(state, made.side)
    backbone: Backbone = builder(made.spec, made.input, made.weights, state, **made.spec.options)
    say(f"weights: {made.model_id}, {made.weights_id if made.source.startswith('random') else made.source}")
    return LoadedBackbone(
        backbone,
        made.input,
        made.model_id,
        made.weights_id,
        made.sha256,
        made.source,
        made.plugin,
        made.plugin_version,
    )
