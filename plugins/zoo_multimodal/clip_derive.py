"""One tower of a pair of open_clip's, as a model of its own: its records out of the pair's. Imports no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from zoo.paths import cache_dir
from zoo_multimodal.clip_list import BUILDER, ROWS, TOKENS
from zoo_registry.errors import UnknownName
from zoo_registry.registry import Registry, ResolvedModel
from zoo_registry.specs import ModelSpec, WeightsSpec


def derive_image(spec: ModelSpec, rest: str, registry: Registry) -> tuple[ModelSpec, WeightsSpec | None]:
    """The image tower of the pair ``rest`` (a name, an alias, ``name@tag``), with the pair's weights.

    Raises:
        UnknownName, AmbiguousName: as :meth:`zoo_registry.registry.Registry.model` does, or it is none of open_clip's.
    """
    return _derived(spec, rest, registry, "image")


def derive_text(spec: ModelSpec, rest: str, registry: Registry) -> tuple[ModelSpec, WeightsSpec | None]:
    """As :func:`derive_image`, the text tower."""
    return _derived(spec, rest, registry, "text")


def _derived(spec: ModelSpec, rest: str, registry: Registry, modality: str) -> tuple[ModelSpec, WeightsSpec | None]:
    if not rest.partition("@")[0]:
        raise UnknownName(f"'{spec.prefix}{rest}' names no model.", f"Write {spec.prefix}NAME[@WEIGHTS].")
    pair = registry.model(rest)
    if pair.spec.builder != BUILDER:
        raise UnknownName(
            f"'{rest}' is {pair.id}, which is none of open_clip's pairs.",
            "Choose one of `zoo list --modality image-text`.",
        )
    bare = pair.spec.name
    name = f"{spec.prefix}{bare if registry.means(bare) == pair.id else pair.id}"
    side = 0 if modality == "image" else 1
    made = dataclasses.replace(
        spec,
        name=name,
        input=pair.spec.input.parts[side],
        requires=pair.spec.requires,
        family=pair.spec.family,
        dim=pair.spec.dim,
        default_weights=pair.spec.default_weights,
        license=pair.spec.license,
        summary=f"The {modality} tower of {pair.id}.",
        **(_image_fields(pair.spec) if modality == "image" else _text_fields(pair.spec)),
    )
    return made, _tower_weights(pair, name, side)


def _row(pair: ModelSpec) -> Mapping[str, Any]:
    """What the catalogue knows of a pair; nothing of one that another plugin built of a configuration of its own."""
    config = pair.options["config"]
    return ROWS.get(config, {}) if isinstance(config, str) else {}


def _image_fields(pair: ModelSpec) -> dict[str, Any]:
    row = _row(pair)
    return {
        "layouts": ("pooled", "tokens", *(("grid",) if row.get("grid") else ()), "layers"),
        "exports": ("onnx",),
        "params": row["params"][0] if row else None,
        "options": {"config": pair.options["config"]},
    }


def _text_fields(pair: ModelSpec) -> dict[str, Any]:
    row = _row(pair)
    return {
        "pipeline": f"{TOKENS}:{_text_pipeline(row)}",
        "exports": pair.exports,
        "params": row["params"][1] if row else None,
        "fit_input": pair.fit_input,
        "context": pair.context,
        "vocabulary": pair.vocabulary,
        "options": pair.options,
    }


def _tower_weights(pair: ResolvedModel, name: str, side: int) -> WeightsSpec | None:
    found = pair.weights
    if found is None:
        return None
    # A file that somebody put into the cache for the pair serves here as well.
    namespace, _, bare = pair.id.partition("/")
    slot = cache_dir() / "weights" / namespace / f"{bare}@{found.tag}"
    kept = (f"folder:{slot}",) if slot.is_dir() else ()
    part = found.input.parts[side] if found.input else None
    return dataclasses.replace(
        found,
        model=name,
        sources=(*kept, *found.sources),
        input=part,
        companions=found.companions if side else (),
    )


def _text_pipeline(row: Mapping[str, Any]) -> str:
    return "clip_text_pipeline" if row.get("tokenizer", "clip") == "clip" else f"{row['clean']}_text_pipeline"
