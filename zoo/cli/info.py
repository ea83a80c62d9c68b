"""`zoo info NAME`: the whole card of a model or a data set."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import click

from zoo import default_registry
from zoo.cli.table import columns, count, extent
from zoo.console import say
from zoo.local import LocalWeights
from zoo_registry.builders import install_hint, installed
from zoo_registry.errors import UnknownName
from zoo_registry.registry import Entry, Registry, ResolvedModel
from zoo_registry.specs import InputSpec, WeightsSpec

_OF_IMAGES = frozenset({"mean", "std", "interpolation", "crop_pct", "crop_mode", "fixed_size"})


@click.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(name: str, as_json: bool) -> None:
    """Show everything known about the model or data set NAME. Builds and downloads nothing."""
    registry = default_registry()
    card = _card(registry, name)
    if as_json:
        click.echo(json.dumps({"schema_version": 1} | card, indent=1))
        return
    weights = card.pop("checkpoints", None)
    note = card.pop("note", "")
    click.echo(columns([(key, _text(value)) for key, value in card.items() if value not in (None, "", [], {})]))
    if weights:
        head = ("weights", "here", "top-1", "input", "licence", "source")
        rows = [
            (
                f"{w['tag']}{' *' if w['default'] else ''}",
                "yes" if w["here"] else "no",
                "" if w["accuracy"] is None else f"{w['accuracy']:.1f}",
                _input_text(w["input"]),
                w["license"],
                " ".join(w["sources"]),
            )
            for w in weights
        ]
        click.echo()
        click.echo(columns([head, *rows], right=frozenset({2})))
        say("* is the default of the full name.")
    if note:
        say(note)


def _card(registry: Registry, name: str) -> dict[str, Any]:
    try:
        return _model_card(registry, registry.model(name))
    except UnknownName:
        try:
            entry = registry.dataset(name)
        except UnknownName:
            entry = None
        if entry is None:
            # The model's error is the better one: it knows the near matches of thousands of names.
            raise
        return _dataset_card(entry)


def _model_card(registry: Registry, found: ResolvedModel) -> dict[str, Any]:
    spec = found.spec
    contract = (found.weights.input if found.weights else None) or spec.input
    local = LocalWeights()
    missing = [package for package in spec.requires if not installed(package)]
    return {
        "kind": "model",
        "id": found.id,
        "weights": found.weights.tag if found.weights else None,
        "aliases": sorted(spec.aliases),
        "summary": spec.summary,
        "family": spec.family,
        "params": spec.params,
        "dim": spec.dim,
        "context": spec.context,
        "vocabulary": spec.vocabulary,
        "input": _input(contract),
        "license": (found.weights.license if found.weights else "") or spec.license,
        "layouts": list(spec.layouts),
        "exports": list(spec.exports),
        "tasks": sorted({e.spec.task for e in registry.heads() if {"any", contract.modality} & set(e.spec.modalities)}),
        "plugin": f"{found.plugin.distribution} {found.plugin.version}".strip() or found.plugin.name,
        "needs": [f"{package} (not installed). {install_hint([package], spec.extra)}" for package in missing],
        "note": found.note,
        "checkpoints": [
            _checkpoint(weights, spec.input, weights.tag == spec.default_weights, local.find(found.id, weights))
            for weights in registry.weights_of(found.id) or ([found.weights] if found.weights else [])
        ],
    }


def _checkpoint(weights: WeightsSpec, contract: InputSpec, default: bool, here: Path | None) -> dict[str, Any]:
    return {
        "tag": weights.tag,
        "default": default,
        "here": str(here) if here else None,
        "sources": list(weights.sources),
        "sha256": weights.sha256,
        "input": _input(weights.input or contract),
        "num_classes": weights.num_classes,
        "dataset": weights.dataset,
        "accuracy": weights.accuracy,
        "license": weights.license,
        "summary": weights.summary,
    }


def _dataset_card(entry: Entry) -> dict[str, Any]:
    spec = entry.spec
    folders = [Path(f) / spec.name for f in os.environ.get("ZOO_DATA_PATH", "").split(os.pathsep) if f]
    return {
        "kind": "dataset",
        "id": entry.id,
        "summary": spec.summary,
        "modality": spec.modality,
        "task": spec.task,
        "classes": spec.classes,
        "sources": list(spec.sources),
        "columns": dict(spec.columns),
        "sample": "a small built-in offline sample" if spec.sample else "",
        "here": next((str(folder) for folder in folders if folder.exists()), None),
        "license": spec.license,
        "homepage": spec.homepage,
        "plugin": f"{entry.plugin.distribution} {entry.plugin.version}".strip() or entry.plugin.name,
    }


def _input(contract: InputSpec) -> dict[str, Any]:
    values = dataclasses.asdict(contract)
    if contract.modality == "image":
        return values
    return {name: value for name, value in values.items() if name not in _OF_IMAGES}


def _numbers(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _input_text(contract: dict[str, Any]) -> str:
    return extent(contract["modality"], contract["size"]) + (" fixed" if contract.get("fixed_size") else "")


def _text(value: Any) -> str:
    if isinstance(value, dict):
        filled = {key: item for key, item in value.items() if item not in (None, "", [], (), False)}
        return ", ".join(key if item is True else f"{key} {_numbers(item)}" for key, item in filled.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return f"{value:,} ({count(value)})" if isinstance(value, int) and value >= 10_000 else str(value)
