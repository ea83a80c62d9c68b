"""`zoo info NAME`: the whole card of a model, a data set or a run."""

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
@click.argument("name", metavar="NAME|RUN")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(name: str, as_json: bool) -> None:
    """Show everything known about the model or data set NAME, or what a RUN came to and how to go on from it.
    Builds and downloads nothing."""
    if (Path(name) / "manifest.json").is_file():
        _show_run(name, as_json)
        return
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


def _show_run(path: str, as_json: bool) -> None:
    from zoo.run import open_run
    from zoo.run_facts import learned_text, metric_lines, run_facts

    facts = run_facts(open_run(path))
    if as_json:
        click.echo(json.dumps({"schema_version": 1} | facts, indent=1))
        return
    data, weights = facts["data"], facts["weights"] or {}
    sizes = ", ".join(f"{split} {size:,}" for split, size in (data.get("sizes") or {}).items())
    steps = ", ".join(f"{stage} {step:,}" for stage, step in facts["steps"].items())
    rows = [
        ("run", facts["path"]),
        ("verb", facts["verb"]),
        ("status", facts["status"]),
        ("model", facts["model"]),
        ("started from", _started_from(weights)),
        ("learned", learned_text(facts)),
        ("data", data.get("origin")),
        ("samples", sizes),
        ("classes", len(data.get("labels") or ()) or None),
        *((" " if i else "metrics", line) for i, line in enumerate(metric_lines(facts))),
        ("measured on", f"{facts['measured_on']:,} validation samples" if facts["measured_on"] else None),
        ("steps", steps),
        ("epochs", facts["epochs"] and f"{facts['epochs']:g}"),
        ("took", facts["seconds"] and f"{facts['seconds']:,g} s on {facts['device']}"),
        ("seed", facts["seed"]),
        ("report", facts["report"]),
        *((" " if i else "next", line) for i, line in enumerate(facts["next"])),
    ]
    click.echo(columns([(key, str(value)) for key, value in rows if value not in (None, "")]))


def _started_from(weights: dict[str, Any]) -> str:
    digest = weights.get("sha256")
    source = weights.get("source") or ""
    named = f"{weights['id']}, " if "@" in str(weights.get("id")) else ""
    return f"{named}{source}" + (f", sha256 {digest[:12]}…" if digest else "")


def _card(registry: Registry, name: str) -> dict[str, Any]:
    try:
        return _model_card(registry, registry.model(name))
    except UnknownName:
        try:
            entry = registry.dataset(name)
        except UnknownName:
            entry = None
        if entry is None and Path(name).exists():
            from zoo.run import open_run

            open_run(name)  # which says why it is no run
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
        "settings": dict(spec.options),
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
