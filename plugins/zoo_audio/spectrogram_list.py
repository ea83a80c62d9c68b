"""Vision backbones on log-mel spectrograms: one record stands for all of them. Imports no torch."""

from __future__ import annotations

import dataclasses

from zoo.paths import cache_dir
from zoo_registry.errors import UnknownName
from zoo_registry.registry import Registry, ResolvedModel
from zoo_registry.specs import InputSpec, ModelSpec, WeightsSpec

PREFIX = "spectrogram/"

SPECTROGRAM_MODELS: tuple[ModelSpec, ...] = (
    ModelSpec(
        name="spectrogram",
        builder="zoo_audio.spectrogram:build_spectrogram",
        pipeline="zoo_audio.spectrogram_pipeline:placed_pipeline",
        input=InputSpec(modality="audio", rate=16_000, seconds=10.0),
        requires=("torchaudio", "soundfile"),
        extra="audio",
        family="spectrogram",
        prefix=PREFIX,
        derive="zoo_audio.spectrogram_list:derive",
        fit_input="zoo_audio.clip_lengths:fit_rate_and_seconds",
        fit_always=True,
        strategy="full",
        summary="Any vision model on log-mel spectrograms: spectrogram/NAME[@WEIGHTS].",
    ),
)


def derive(spec: ModelSpec, rest: str, registry: Registry) -> tuple[ModelSpec, WeightsSpec | None]:
    """The records of the vision model ``rest`` (a name, an alias, ``name@tag``) on spectrograms. Its weights are its
    own; its name is the full one where the bare one means something else.

    Raises:
        UnknownName, AmbiguousName: as :meth:`zoo_registry.registry.Registry.model` does, or it is no vision model.
    """
    if not rest.partition("@")[0]:
        raise UnknownName(f"'{spec.prefix}{rest}' names no model.", f"Write {spec.prefix}NAME[@WEIGHTS].")
    inner = registry.model(rest)
    if inner.spec.input.modality != "image":
        raise UnknownName(
            f"'{rest}' is {inner.id}, which takes no pictures.", "Choose one of `zoo list --modality image`."
        )
    bare = inner.spec.name
    name = f"{spec.prefix}{bare if registry.means(bare) == inner.id else inner.id}"
    made = dataclasses.replace(
        spec,
        name=name,
        requires=(*inner.spec.requires, *spec.requires),
        dim=inner.spec.dim,
        params=inner.spec.params,
        layouts=inner.spec.layouts,
        exports=inner.spec.exports,
        default_weights=inner.spec.default_weights,
        license=inner.spec.license,
        options={**spec.options, "vision": inner.spec},
        summary=f"{inner.id} on log-mel spectrograms.",
    )
    return made, _weights(inner, name)


def _weights(inner: ResolvedModel, name: str) -> WeightsSpec | None:
    if inner.weights is None:
        return None
    # A file that somebody put into the cache for the vision model serves here as well.
    namespace, _, bare = inner.id.partition("/")
    slot = cache_dir() / "weights" / namespace / f"{bare}@{inner.weights.tag}"
    kept = (f"folder:{slot}",) if slot.is_dir() else ()
    return dataclasses.replace(inner.weights, model=name, sources=(*kept, *inner.weights.sources), input=None)
