"""Which weights a name means: model, file, hash and input contract, without building or importing torch."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.local import PACKAGE, installed_package
from zoo.run import open_run
from zoo.towers import side_of_pair, tower_id
from zoo.weights.hashes import sha256_of
from zoo.weights.shards import checkpoint_sha256
from zoo.weights.sources import FILE_SUFFIXES, find, lacking, weights_file
from zoo_registry.errors import UnknownName, UsageError, WeightsError, WeightsOutOfReach
from zoo_registry.specs import InputSpec, ModelSpec, WeightsSpec

if TYPE_CHECKING:
    from zoo_registry.registry import Registry, ResolvedModel

RANDOM = "none"
SIZED_BY = {"size": "image", "max_length": "text", "seconds": "audio"}
"""Which modality each of the asked-for sizes is of."""


@dataclass(frozen=True)
class WeightsId:
    """Everything that decides what a backbone computes, known before it is built.

    Attributes:
        model_id: ``"vision/resnet50"``.
        weights_id: ``"vision/resnet50@a1_in1k"``, ``"none"`` or the path given.
        sha256: of the file; None for random weights.
        source: where the file was taken from, for people.
        input: the input contract, with the asked-for size, and the folder of its assets where it has some.
        spec: the architecture.
        path: the file; None for random weights.
        weights: the record of the checkpoint, where there is one. For a file of the user's: of the tag it stands in
            for, which tells how such files are laid out.
        plugin, plugin_version: the distribution that provides the model.
        own_input: True where the weights are of a run, whose input contract was settled when it was trained.
        pair: where the file holds both towers of a model of pairs, that model, whose ``tower_state`` cuts this one out.
        side: the modality of this tower there.
    """

    model_id: str
    weights_id: str
    sha256: str | None
    source: str
    input: InputSpec
    spec: ModelSpec
    path: Path | None
    weights: WeightsSpec | None = None
    plugin: str = ""
    plugin_version: str = ""
    own_input: bool = False
    pair: ModelSpec | None = None
    side: str = ""


def identify_weights(
    name: str,
    *,
    weights: str | None = None,
    registry: Registry | None = None,
    size: int | None = None,
    max_length: int | None = None,
    seconds: float | None = None,
) -> WeightsId:
    """Resolve a model name and its weights, fetching the file where it is not on this machine.

    Args:
        name: ``resnet50``, ``vision/resnet50``, ``resnet50@tag`` or an alias.
        weights: None: the model's default (or the tag in ``name``); ``"none"``: random; a tag; or a path: a weights
            file, a run folder, its ``model/`` folder, or a folder that holds ``model.safetensors``; or
            ``package:import_name``, what ``zoo publish`` wrote and pip installed.
        size: side of square input images in pixels instead of the weights' own.
        max_length: longest text in tokens instead of the weights' own.
        seconds: of sound that the network hears at once instead of the weights' own; 0: whole recordings.

    Raises:
        UnknownName, AmbiguousName: the name or tag.
        WeightsError: the file cannot be had, is not the published one, or belongs to another model.
        UsageError: the model exists with random weights only and ``"none"`` was not asked for, or it cannot take inputs
            of that size.
    """
    if registry is None:
        import zoo

        registry = zoo.default_registry()
    resolved = registry.model(name)
    if resolved.spec.prefix:
        raise UnknownName(f"'{name}' is no model by itself.", f"Write one of many: {resolved.spec.summary}")
    made = _identify(resolved, weights, registry)
    return dataclasses.replace(
        made,
        input=_resized(made, size, max_length, seconds),
        plugin=resolved.plugin.distribution,
        plugin_version=resolved.plugin.version,
    )


def _identify(resolved: ResolvedModel, weights: str | None, registry: Registry) -> WeightsId:
    spec = resolved.spec
    if weights == RANDOM:
        return WeightsId(resolved.id, RANDOM, None, "random numbers", spec.input, spec, None)
    if weights is not None and Path(weights).exists():
        return _from_path(Path(weights), resolved, registry)
    if weights is not None and weights.startswith(PACKAGE):
        made = _from_path(installed_package(weights), resolved, registry)
        return dataclasses.replace(made, weights_id=weights, source=weights.replace(":", " "))
    record = resolved.weights if weights is None else _by_tag(weights, resolved, registry)
    if record is None:
        raise UsageError(
            f"There are no pretrained weights of {resolved.id}.",
            "zoo finetune and zoo pretrain start it from random numbers with --weights none, or a file with --weights "
            "PATH.",
        )
    weights_id = f"{resolved.id}@{record.tag}"
    try:
        found = find(weights_id, record)
    except WeightsOutOfReach:
        if weights is not None or resolved.spare is None:
            raise
        missing, record = weights_id, resolved.spare
        weights_id = f"{resolved.id}@{record.tag}"
        if found := find(weights_id, record):
            found = dataclasses.replace(found, source=f"{found.source} (@{record.tag}: {missing} is out of reach here)")
    assert found is not None
    taken = dataclasses.replace(record.input or spec.input, assets=found.assets)
    return WeightsId(resolved.id, weights_id, found.sha256, found.source, taken, spec, found.path, record)


def _by_tag(tag: str, resolved: ResolvedModel, registry: Registry) -> WeightsSpec | None:
    records = {record.tag: record for record in registry.weights_of(resolved.id)}
    tag = tag.removeprefix(f"{resolved.id}@").removeprefix(f"{resolved.spec.name}@").removeprefix("@")
    if resolved.spec.derive and not tag.endswith(FILE_SUFFIXES):  # its tags are known where it came from
        return registry.model(f"{resolved.id}@{tag}").weights
    if tag in records:
        return records[tag]
    if "/" in tag or "\\" in tag or tag.endswith(FILE_SUFFIXES):
        raise WeightsError(f"There is no weights file or folder {tag}.", "Check the path.")
    near = difflib.get_close_matches(tag, records, n=3, cutoff=0.4)
    known = ", ".join(near or sorted(records)) or "none"
    raise UnknownName(
        f"{resolved.id} has no weights called {tag}.",
        f"{'Did you mean' if near else 'It has'}: {known}{'?' if near else '.'} A path or none also work.",
    )


def _from_path(path: Path, resolved: ResolvedModel, registry: Registry) -> WeightsId:
    spec, record = resolved.spec, resolved.weights
    if path.is_dir():
        for folder in (path, path / "model"):
            if (folder / "model.json").is_file():
                return _from_model_folder(path, folder, resolved, registry)
        file = weights_file(path)
        if file is None:
            raise WeightsError(
                f"{path} holds no weights.",
                "Give a weights file, a run folder, a model folder, or a folder with model.safetensors.",
            )
    else:
        file = path
    if record and (missing := lacking(file.parent, record)):
        raise WeightsError(
            f"{file} lacks {', '.join(missing)} beside it, without which {resolved.id} cannot be built.",
            f"Copy {'it' if len(missing) == 1 else 'them'} into {file.parent}.",
        )
    taken = record.input if record and record.input else spec.input
    taken = _with_assets(taken, file.parent, spec, record)
    return WeightsId(resolved.id, str(path), checkpoint_sha256(file), f"file {file}", taken, spec, file, record)


def _with_assets(taken: InputSpec, folder: Path, spec: ModelSpec, record: WeightsSpec | None) -> InputSpec:
    """The input contract of weights of the user's: what belongs to it lies beside them."""
    owns = bool(spec.fit_input or (record and record.companions))
    return dataclasses.replace(taken, assets=str(folder.resolve()) if owns else "")


def _to_finish(run: Path) -> str:
    try:
        return open_run(run).remedy()
    except UsageError:
        return "Give a run that finished."


def _from_model_folder(path: Path, folder: Path, resolved: ResolvedModel, registry: Registry) -> WeightsId:
    try:
        meta: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        model_id: str = meta["model_id"]
        taken = InputSpec.from_dict(meta["input"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{folder / 'model.json'} is no zoo model description: {error}.", "Give a run that finished."
        ) from error
    of_pair = side_of_pair(model_id, resolved.id, registry) if model_id != resolved.id else None
    if model_id != resolved.id and of_pair is None:
        raise WeightsError(
            f"{path} was trained from {model_id}, not {resolved.id}.", _instead(model_id, taken, registry)
        )
    file = folder / "backbone.safetensors"
    if not file.is_file():
        raise WeightsError(f"{folder} holds no backbone.safetensors yet.", _to_finish(folder.parent))
    digest = sha256_of(file)
    expected = (meta.get("sha256") or {}).get(file.name)
    if expected and digest != expected:
        raise WeightsError(
            f"{file} is not the file the run wrote: its sha256 is {digest}, expected {expected}.",
            "Restore it from a copy, or train again.",
        )
    if of_pair is None:
        taken = _with_assets(taken, folder, resolved.spec, resolved.weights)
        if taken.parts:  # what belongs to either side lies here too
            taken = dataclasses.replace(taken, assets=str(folder.resolve()))
        return WeightsId(resolved.id, str(path), digest, f"run {path}", taken, resolved.spec, file, own_input=True)
    pair, side = of_pair
    part = next((part for part in taken.parts if part.modality == side), None)
    if part is None:
        raise WeightsError(
            f"{folder / 'model.json'} does not say what the {side} side takes.", "Give a pretraining run of pairs."
        )
    return WeightsId(
        resolved.id,
        str(path),
        digest,
        f"run {path}",
        dataclasses.replace(part, assets=str(folder.resolve())),
        resolved.spec,
        file,
        own_input=True,
        pair=pair.spec,
        side=side,
    )


def _instead(model_id: str, taken: InputSpec, registry: Registry) -> str:
    """Which models weights of ``model_id`` can be used with."""
    if not taken.parts or (full := registry.means(model_id)) is None:
        return f"Use the model {model_id} with these weights."
    pair = registry.model(full)
    towers = " or ".join(tower_id(pair, side, registry) for side in pair.spec.towers)
    return f"Use the model {model_id} with these weights, or one of its towers: {towers}."


def _resized(made: WeightsId, size: int | None, max_length: int | None, seconds: float | None) -> InputSpec:
    """The input contract with the asked-for size or length; texts no longer than the network can take.

    Raises:
        UsageError: the size makes no sense, or not for this modality.
    """
    spec = made.input
    if spec.parts:
        return _resized_pair(made, {"size": size, "max_length": max_length, "seconds": seconds})
    if spec.modality == "audio":
        return _heard(made, size, max_length, seconds)
    if seconds is not None:
        raise UsageError(f"{made.model_id} takes no sound, so it has no length in seconds.", "Leave --seconds out.")
    texts = len(spec.size) == 1
    if size is not None and texts:
        raise UsageError(f"{made.model_id} takes no images, so it has no image size.", "Did you mean --max-length?")
    if max_length is not None and not texts:
        raise UsageError(f"{made.model_id} takes no texts, so it has no longest text.", "Leave --max-length out.")
    if texts:
        return dataclasses.replace(spec, size=(_length(made, spec.size[0], max_length),))
    if size is None or not spec.size:
        return spec
    if size < 1:
        raise UsageError(f"An image side of {size} pixels makes no sense.", "Give a --size of 32 or more.")
    return dataclasses.replace(spec, size=(spec.size[0], size, size))


def _resized_pair(made: WeightsId, asked: Mapping[str, Any]) -> InputSpec:
    """Of a pair, each side with the sizes that are its own.

    Raises:
        UsageError: neither side has such a size, or one of them cannot take it.
    """
    modalities = {part.modality for part in made.input.parts}
    for name, value in asked.items():
        if value is not None and SIZED_BY[name] not in modalities:
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"No side of {made.model_id} takes {SIZED_BY[name]}.", f"Leave {flag} out.")
    parts = tuple(
        _resized(
            dataclasses.replace(made, input=part),
            *(value if SIZED_BY[name] == part.modality else None for name, value in asked.items()),
        )
        for part in made.input.parts
    )
    return dataclasses.replace(made.input, parts=parts)


def _heard(made: WeightsId, size: int | None, max_length: int | None, seconds: float | None) -> InputSpec:
    """The input contract of a network of sound, with the asked-for length."""
    for flag, given in (("--size", size), ("--max-length", max_length)):
        if given is not None:
            raise UsageError(
                f"{made.model_id} takes sound, whose length {flag} does not set.", "Did you mean --seconds?"
            )
    if seconds is None:
        return made.input
    if not 0 <= seconds < float("inf") or 0 < seconds * made.input.rate < 1:
        raise UsageError(
            f"A stretch of {seconds:g} seconds makes no sense.", "Give --seconds of 0.1 or more; 0: whole recordings."
        )
    return dataclasses.replace(made.input, seconds=float(seconds))


def _length(made: WeightsId, usual: int, asked: int | None) -> int:
    """Longest text in tokens: the asked-for length, else the usual one or what the network can take."""
    context = made.spec.context or _described_context(made.input)
    if asked is None:
        return min(usual, context or usual)
    if asked < 1:
        raise UsageError(f"A longest text of {asked} tokens makes no sense.", "Give a --max-length of 16 or more.")
    if context and asked > context:
        raise UsageError(
            f"{made.model_id} takes at most {context} tokens, not {asked}.",
            f"Give a --max-length of {context} or less.",
        )
    return asked


def _described_context(spec: InputSpec) -> int | None:
    """Positions of the network that the config.json among the assets describes, where there is one."""
    try:
        limit = json.loads(Path(spec.assets, "config.json").read_text(encoding="utf-8"))["max_position_embeddings"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return limit if isinstance(limit, int) and limit > 0 else None
