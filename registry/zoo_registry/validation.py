"""Is what a plugin returned well formed? Runs on thousands of records at each start, so the checks are flat tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from itertools import chain
from operator import attrgetter
from typing import Any

from zoo_registry.specs import DatasetSpec, HeadSpec, InputSpec, ModelSpec, ObjectiveSpec, Spec, WeightsSpec

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*\Z")
REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*\Z")
SHA256 = re.compile(r"[0-9a-f]{8,64}\Z")

Check = Callable[[Any], bool]


class InvalidRecord(ValueError):
    """A record that breaks the contract; the text names the record and the field."""


def _all(kind: type | tuple[type, ...]) -> Check:
    return lambda value: type(value) is tuple and all(isinstance(item, kind) for item in value)


def _plain(value: Any) -> bool:
    if value is None or isinstance(value, (str, int, float, bool)):
        return True
    if isinstance(value, (list, tuple)):
        return all(map(_plain, value))
    return isinstance(value, Mapping) and all(isinstance(k, str) and _plain(v) for k, v in value.items())


def _mapping(check: Check) -> Check:
    return lambda value: (
        isinstance(value, Mapping) and all(isinstance(key, str) and check(item) for key, item in value.items())
    )


_NUMBER = (int, float)
# Keyed by the annotations of zoo_registry.specs, so a field added there is checked without a line here.
_CHECKS: dict[str, Check] = {
    "str": lambda value: isinstance(value, str),
    "str | None": lambda value: value is None or isinstance(value, str),
    "int": lambda value: isinstance(value, int),
    "int | None": lambda value: value is None or isinstance(value, int),
    "bool": lambda value: isinstance(value, bool),
    "float": lambda value: isinstance(value, _NUMBER),
    "float | None": lambda value: value is None or isinstance(value, _NUMBER),
    "tuple[str, ...]": _all(str),
    "tuple[int, ...]": _all(int),
    "tuple[float, ...]": _all(_NUMBER),
    "tuple[InputSpec, ...]": _all(InputSpec),
    "InputSpec": lambda value: isinstance(value, InputSpec),
    "InputSpec | None": lambda value: value is None or isinstance(value, InputSpec),
    "Mapping[str, str]": _mapping(lambda value: isinstance(value, str)),
    "Mapping[str, str | None]": _mapping(lambda value: value is None or isinstance(value, str)),
    "Mapping[str, Any]": _mapping(_plain),
}
# The usual case in bulk: where a whole column is of these exact types, no value needs a look of its own. Tuples are
# looked into the same way; whatever else there is takes the slow way through _CHECKS.
_NONE = type(None)
_BULK: dict[str, frozenset[type]] = {
    "str": frozenset({str}),
    "str | None": frozenset({str, _NONE}),
    "int": frozenset({int}),
    "int | None": frozenset({int, _NONE}),
    "float | None": frozenset({int, float, _NONE}),
    "InputSpec": frozenset({InputSpec}),
    "InputSpec | None": frozenset({InputSpec, _NONE}),
}
_BULK_TUPLES: dict[str, frozenset[type]] = {"tuple[str, ...]": frozenset({str})}
_FIELDS: dict[type, tuple[tuple[str, str, Check], ...]] = {
    kind: tuple((field.name, str(field.type), _CHECKS[str(field.type)]) for field in fields(kind))
    for kind in (InputSpec, ModelSpec, WeightsSpec, HeadSpec, ObjectiveSpec, DatasetSpec)
}


def check_types(records: Sequence[object], kind: type) -> None:
    """Every record is a ``kind`` whose fields have the declared types.

    Raises:
        InvalidRecord: the first that is not.
    """
    for record in records:
        if not isinstance(record, kind):
            raise InvalidRecord(f"{kind.__name__} expected, got {_short(record)}")
    for name, annotation, check in _FIELDS[kind]:
        values = list(map(attrgetter(name), records))
        if _sound_in_bulk(values, annotation):
            continue
        for record, value in zip(records, values, strict=True):
            if not check(value):
                raise InvalidRecord(f"{label(record)}: {name} must be {annotation}, not {_short(value)}")


def _sound_in_bulk(values: list[Any], annotation: str) -> bool:
    types = set(map(type, values))
    if annotation in _BULK_TUPLES:
        return types <= {tuple} and set(map(type, chain.from_iterable(values))) <= _BULK_TUPLES[annotation]
    return types <= _BULK.get(annotation, frozenset()) or (
        types <= {dict} and not any(values) and "Mapping" in annotation
    )


def check_plugin(specs: Sequence[Spec]) -> None:
    """Names, references and cross references of one plugin's (already type-checked) records.

    Raises:
        InvalidRecord: the first breach: a malformed or doubled name, a reference that is none, weights of a bare name
            that is no model of the plugin, a default or alias that points nowhere, a source of no known kind.
    """
    models: dict[str, ModelSpec] = {}
    tags: dict[str, set[str]] = {}
    seen: set[tuple[type, str]] = set()
    inputs: dict[int, InputSpec] = {}
    for spec in specs:
        if isinstance(spec, WeightsSpec):
            _check_weights(spec)
            if spec.tag in tags.setdefault(spec.model, set()):
                raise InvalidRecord(f"{label(spec)} is there twice")
            tags[spec.model].add(spec.tag)
        else:
            key = (type(spec), spec.name)
            if not NAME.match(spec.name):
                raise InvalidRecord(f"'{spec.name}' is no name: letters, digits and _ . + - only")
            if key in seen:
                raise InvalidRecord(f"{label(spec)} is there twice")
            seen.add(key)
            if isinstance(spec, ObjectiveSpec) and spec.labels not in ("ignored", "watched", "needed"):
                raise InvalidRecord(f"{label(spec)}: labels '{spec.labels}' are none of ignored, watched, needed")
            if isinstance(spec, ModelSpec):
                models[spec.name] = spec
                _check_reference(spec, "pipeline", spec.pipeline)
                if spec.prefix:
                    _check_reference(spec, "derive", spec.derive)
            if isinstance(spec, DatasetSpec):
                if spec.sample:
                    _check_reference(spec, "sample", spec.sample)
                if spec.generate:
                    _check_reference(spec, "generate", spec.generate)
            else:
                _check_reference(spec, "builder", spec.builder)
        if isinstance(spec, (ModelSpec, WeightsSpec)) and spec.input is not None:
            inputs.setdefault(id(spec.input), spec.input)
    for contract in inputs.values():
        _check_input(contract)
    for model in tags:
        if model not in models and "/" not in model:
            raise InvalidRecord(f"weights '{sorted(tags[model])[0]}' belong to '{model}', a model the plugin has not")
    _check_defaults(models, tags)


def _check_defaults(models: Mapping[str, ModelSpec], tags: Mapping[str, set[str]]) -> None:
    aliased: dict[str, str] = {}
    for model in models.values():
        own = tags.get(model.name, ())
        if model.default_weights is not None and model.default_weights not in own:
            raise InvalidRecord(f"{label(model)}: default weights '{model.default_weights}' do not exist")
        if model.spare_weights is not None and model.spare_weights not in own:
            raise InvalidRecord(f"{label(model)}: spare weights '{model.spare_weights}' do not exist")
        for alias, tag in model.aliases.items():
            if not NAME.match(alias):
                raise InvalidRecord(f"{label(model)}: alias '{alias}' is no name")
            if tag is not None and tag not in own:
                raise InvalidRecord(f"{label(model)}: alias '{alias}' names weights '{tag}' that do not exist")
            if aliased.setdefault(alias, model.name) != model.name:
                raise InvalidRecord(f"alias '{alias}' is claimed by {aliased[alias]} and {model.name}")


def _check_weights(spec: WeightsSpec) -> None:
    if "/" in spec.model and not all(map(NAME.match, spec.model.split("/", 1))):
        raise InvalidRecord(f"{label(spec)}: '{spec.model}' is no full name of a model: namespace/name")
    if not NAME.match(spec.tag):
        raise InvalidRecord(f"{label(spec)}: '{spec.tag}' is no tag: letters, digits and _ . + - only")
    if not spec.sources:
        raise InvalidRecord(f"{label(spec)} names no source")
    for source in spec.sources:
        kind, _, place = source.partition(":")
        if kind not in ("package", "hub", "url") or "/" not in place:
            raise InvalidRecord(f"{label(spec)}: '{source}' is no source (package:, hub: or url:)")
        if kind == "url" and not (place.startswith("https://") and (spec.sha256 or spec.trust_first)):
            raise InvalidRecord(f"{label(spec)}: a url: source needs https and a sha256, or trust_first")
    if spec.sha256 is not None and not SHA256.match(spec.sha256):
        raise InvalidRecord(f"{label(spec)}: '{spec.sha256}' is no sha256 or prefix of 8 digits or more")
    if spec.remap:
        _check_reference(spec, "remap", spec.remap)


def _check_reference(spec: Spec, field: str, value: str) -> None:
    if not REFERENCE.match(value):
        raise InvalidRecord(f"{label(spec)}: {field} '{value}' is no reference package.module:attribute")


def _check_input(contract: InputSpec) -> None:
    check_types([contract], InputSpec)
    if contract.modality == "image" and (
        len(contract.size) != 3 or len(contract.mean) != contract.size[0] or len(contract.std) != contract.size[0]
    ):
        raise InvalidRecord(f"image input {contract.size}: size is (channels, height, width), mean and std per channel")
    if contract.parts and contract.modality != "-".join(part.modality for part in contract.parts):
        raise InvalidRecord(f"input of pairs: the modality '{contract.modality}' must name its parts in order")
    for part in contract.parts:
        _check_input(part)


def label(record: object) -> str:
    """``ModelSpec resnet50``, for messages."""
    if isinstance(record, WeightsSpec):
        return f"WeightsSpec {record.model}@{record.tag}"
    return f"{type(record).__name__} {getattr(record, 'name', '')}".rstrip()


def _short(value: object) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text[:60]}{'…' if len(text) > 60 else ''}"
