"""Two backbones of the registry as one model of pairs: one record stands for all of them. Imports no torch."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from zoo.paths import cache_dir
from zoo_registry.errors import UnknownName, UsageError
from zoo_registry.registry import Registry, ResolvedModel
from zoo_registry.specs import InputSpec, ModelSpec, WeightsSpec

PREFIX = "dual/"
ORDER = ("image", "audio", "text")
"""Of the two sides, whichever is named first."""

JOINT = ","
"""Between the two towers' tags in that of the pair; nothing stands for random numbers."""

DUAL_MODELS: tuple[ModelSpec, ...] = (
    ModelSpec(
        name="dual",
        builder="zoo_multimodal.dual_build:build_dual",
        pipeline="zoo.pairs:PairPipeline",
        input=InputSpec(modality="image-text"),
        family="dual",
        prefix=PREFIX,
        derive="zoo_multimodal.dual_list:derive",
        tower_state="zoo_multimodal.dual_build:tower_state",
        options={"dim": 256},
        summary="Any two backbones as towers of one space: dual/A+B; A@TAG+B@TAG from weights.",
    ),
)


class Tower(NamedTuple):
    """A side's model, and the weights that it was named with."""

    model: ResolvedModel
    weights: WeightsSpec | None

    @property
    def spec(self) -> ModelSpec:
        return self.model.spec


def derive(spec: ModelSpec, rest: str, registry: Registry) -> tuple[ModelSpec, WeightsSpec | None]:
    """The records of ``A[@TAG]+B[@TAG]``: two backbones of different modalities, in the order of :data:`ORDER` however
    they are named. A tower with a tag starts from those weights, one without from random numbers.

    Raises:
        UnknownName, AmbiguousName: as :meth:`zoo_registry.registry.Registry.model` does, or these are no two names.
        UsageError: both take the same, or one of them takes pairs.
    """
    towers = [_tower(part, registry) for part in _parts(spec, rest)]
    towers.sort(key=lambda tower: ORDER.index(tower.spec.input.modality))
    modalities = [tower.spec.input.modality for tower in towers]
    if modalities[0] == modalities[1]:
        raise UsageError(
            f"{towers[0].model.id} and {towers[1].model.id} both take {modalities[0]}, so they make no pair.",
            "Choose backbones of two modalities, such as dual/resnet10t+bert_tiny.",
        )
    name = f"{spec.prefix}{'+'.join(_name(tower.model, registry) for tower in towers)}"
    parts = tuple((tower.weights and tower.weights.input) or tower.spec.input for tower in towers)
    input = InputSpec(modality="-".join(modalities), parts=parts)
    extras = {tower.spec.extra for tower in towers} - {""}
    params = [tower.spec.params for tower in towers]
    made = dataclasses.replace(
        spec,
        name=name,
        input=input,
        requires=tuple(dict.fromkeys(needed for tower in towers for needed in tower.spec.requires)),
        extra=extras.pop() if len(extras) == 1 else "all",
        dim=spec.options["dim"],
        params=sum(count for count in params if count) if all(params) else None,
        exports=tuple(kind for kind in towers[0].spec.exports if kind in towers[1].spec.exports),
        license=", ".join(dict.fromkeys(tower.spec.license for tower in towers if tower.spec.license)),
        context=next((tower.spec.context for tower in towers if tower.spec.context), None),
        fit_input="zoo_multimodal.dual_build:fit_towers" if any(tower.spec.fit_input for tower in towers) else "",
        # The weights of one tower do not settle what the other takes.
        fit_always=any(tower.spec.fit_input and (tower.spec.fit_always or not tower.weights) for tower in towers),
        options={
            **spec.options,
            "specs": tuple(tower.spec for tower in towers),
            "ids": tuple(tower.model.id for tower in towers),
            "records": tuple(tower.weights for tower in towers),
        },
        summary=f"{towers[0].model.id} and {towers[1].model.id} as towers of one space.",
        towers=dict(zip(modalities, (tower.model.id for tower in towers), strict=True)),
    )
    return made, _joint(name, input, towers)


def carrier(records: tuple[WeightsSpec | None, ...]) -> int | None:
    """Which tower's file is that of the pair's weights record: the text tower's where it has one, since its tokenizer
    lies beside it. None where both are random."""
    return max((place for place, record in enumerate(records) if record), default=None)


def _parts(spec: ModelSpec, rest: str) -> tuple[str, str]:
    """``A[@TAG]`` and ``B[@TAG]`` of ``A[@TAG]+B[@TAG]`` or, with a pair's own tag, of ``A+B@TAG,TAG``."""
    first, _, second = rest.strip().partition("+")
    (one, _, tag), (other, _, tags) = first.partition("@"), second.partition("@")
    if not (one and other) or "+" in second or (tag and JOINT in tags):
        raise UnknownName(
            f"'{spec.prefix}{rest}' names no two models.",
            f"Write {spec.prefix}A+B, such as {spec.prefix}resnet10t+bert_tiny.",
        )
    if JOINT in tags:
        tag, _, tags = tags.partition(JOINT)
    return f"{one}@{tag}".removesuffix("@"), f"{other}@{tags}".removesuffix("@")


def _tower(part: str, registry: Registry) -> Tower:
    model = registry.model(part)
    modality = model.spec.input.modality
    if modality not in ORDER:
        raise UsageError(
            f"{model.id} takes {modality}, so it cannot be one side of a pair.",
            f"Choose backbones of two out of {', '.join(ORDER)}.",
        )
    if model.spec.prefix:
        raise UnknownName(f"'{part}' is no model by itself.", f"Write one of many: {model.spec.summary}")
    return Tower(model, model.weights if "@" in part else None)


def _name(model: ResolvedModel, registry: Registry) -> str:
    bare = model.spec.name
    return bare if registry.means(bare) == model.id else model.id


def _joint(name: str, input: InputSpec, towers: list[Tower]) -> WeightsSpec | None:
    """The record of both towers' weights. Its file is that of one of them (:func:`carrier`); the other's is looked for
    when the model is built."""
    records = tuple(tower.weights for tower in towers)
    place = carrier(records)
    if place is None:
        return None
    chosen, record = towers[place], records[place]
    assert record is not None
    # A file that somebody put into the cache for the tower serves here as well.
    namespace, _, bare = chosen.model.id.partition("/")
    slot = cache_dir() / "weights" / namespace / f"{bare}@{record.tag}"
    kept = (f"folder:{slot}",) if slot.is_dir() else ()
    tag = JOINT.join(weights.tag if weights else "" for weights in records)
    return dataclasses.replace(record, model=name, tag=tag, sources=(*kept, *record.sources), input=input)
