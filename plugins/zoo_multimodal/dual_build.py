"""Building a pair of towers: from random numbers, from the weights of either, or from those of a trained pair."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor

from zoo.pairs import side_inputs
from zoo.protocols import Backbone
from zoo.weights.fit import load_strictly
from zoo.weights.read import read_state
from zoo.weights.sources import find
from zoo_multimodal.dual_backbone import DualBackbone
from zoo_multimodal.dual_list import carrier
from zoo_registry.builders import load_builder
from zoo_registry.specs import InputSpec, ModelSpec, WeightsSpec

INSIDE = "backbone."


def build_dual(
    spec: ModelSpec,
    input: InputSpec,
    weights: WeightsSpec | None = None,
    state: Mapping[str, Tensor] | None = None,
    *,
    dim: int,
    specs: tuple[ModelSpec, ModelSpec],
    ids: tuple[str, str],
    records: tuple[WeightsSpec | None, WeightsSpec | None],
) -> DualBackbone:
    """Build both towers.

    Args:
        spec, input: of the pair.
        weights: the pair's record where its towers start from their own weights, else None.
        state: of the tower that :func:`zoo_multimodal.dual_list.carrier` names, or of a whole pair.
        dim: width of the space that both share.
        specs, ids, records: of the towers; a record is None where a tower starts from random numbers.

    Raises:
        WeightsError: a tower's weights cannot be found, or do not fit.
        UsageError: as the towers' builders.
    """
    modalities = [part.modality for part in input.parts]
    whole = state is not None and all(any(key.startswith(f"{m}.{INSIDE}") for key in state) for m in modalities)
    # Whoever loads a trained pair builds it without a record, and nothing is fetched then.
    begun = weights is not None and not whole
    towers = []
    for place, part in enumerate(side_inputs(input)):
        record = records[place] if begun else None
        own = None
        if record is not None:
            own = state if place == carrier(records) else _state_of(ids[place], specs[place], record)
        towers.append(_build(specs[place], part, record, own))
    pair = DualBackbone(towers[0], towers[1], dim, spec, input)
    if whole and state is not None:
        load_strictly(pair.module, state, spec.name)
    return pair


def fit_towers(input: InputSpec, inputs: Iterable[Any], spec: ModelSpec) -> InputSpec:
    """Let each tower that asks for it fit its side of the contract to its side of the data: a tokenizer trained on the
    captions, the length of the recordings. What weights came with stays, and so do assets of a part.

    Args:
        inputs: pairs of raw items, to be gone through again.
        spec: of the pair.
    """
    parts, assets = [], input.assets
    for place, (part, tower) in enumerate(zip(input.parts, spec.options["specs"], strict=True)):
        fresh = spec.options["records"][place] is None or not input.assets
        if tower.fit_input and not part.assets and (tower.fit_always or fresh):
            fit = load_builder(tower.fit_input, tower.requires, tower.extra)
            part = fit(part, Side(inputs, place))
        # They belong to the pair, which is saved with them beside it.
        assets, part = part.assets or assets, dataclasses.replace(part, assets="")
        parts.append(part)
    return dataclasses.replace(input, parts=tuple(parts), assets=assets)


def tower_state(state: Mapping[str, Tensor], modality: str) -> dict[str, Tensor]:
    """The weights of one tower's backbone out of those of the pair, under the names of its own module. The projection,
    which means nothing without the other tower, is left out."""
    start = f"{modality}.{INSIDE}"
    return {key.removeprefix(start): tensor for key, tensor in state.items() if key.startswith(start)}


def _state_of(model_id: str, spec: ModelSpec, record: WeightsSpec) -> Mapping[str, Tensor]:
    found = find(f"{model_id}@{record.tag}", record)
    assert found is not None
    state = read_state(found.path)
    return load_builder(record.remap, spec.requires, spec.extra)(state) if record.remap else state


def _build(
    spec: ModelSpec, input: InputSpec, record: WeightsSpec | None, state: Mapping[str, Tensor] | None
) -> Backbone:
    builder = load_builder(spec.builder, spec.requires, spec.extra)
    backbone: Backbone = builder(spec, input, record, state, **spec.options)
    return backbone


class Side:
    """One side of pairs, which can be gone through again."""

    def __init__(self, pairs: Iterable[Any], place: int) -> None:
        self.pairs, self.place = pairs, place

    def __iter__(self) -> Iterator[Any]:
        return (pair[self.place] for pair in self.pairs)
