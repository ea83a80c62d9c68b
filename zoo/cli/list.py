"""`zoo list`: one line a model."""

from __future__ import annotations

import json
import re
from typing import Any

import click

from zoo import default_registry
from zoo.cli.table import columns, count, extent
from zoo.console import say
from zoo.listing import Query, Row, select
from zoo_registry.names import near
from zoo_registry.registry import Registry

_UNITS = {"": 1, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9}


def parse_count(ctx: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """``10M`` -> 10000000."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmbg]?)", value.strip().lower())
    if not match:
        raise click.BadParameter(f"'{value}' is no number of parameters; write it like 10M.", ctx, parameter)
    return int(float(match.group(1)) * _UNITS[match.group(2)])


@click.command()
@click.argument("pattern", default="")
@click.option("--modality", help="image, text, audio or image-text.")
@click.option("--family", help="Architecture family, such as resnet.")
@click.option("--max-params", callback=parse_count, metavar="N", help="Largest size, such as 10M.")
@click.option("--license", help="Part of the licence's name, such as apache.")
@click.option("--task", help="A task that some head serves, such as classification.")
@click.option("--installed", is_flag=True, help="Usable on this machine without network.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    pattern: str,
    modality: str | None,
    family: str | None,
    max_params: int | None,
    license: str | None,
    task: str | None,
    installed: bool,
    as_json: bool,
) -> None:
    """List models whose name holds PATTERN (or fits it: resnet*). Builds and downloads nothing."""
    registry = default_registry()
    query = Query(pattern, modality, family, max_params, license, task, installed)
    rows = list(select(registry, query))
    if as_json:
        models = [_json(registry, row) for row in rows]
        click.echo(json.dumps({"schema_version": 1, "models": models}, indent=1))
        return
    if rows:
        lines = sorted(line for row in rows for line in _lines(registry, row))
        head = ("name", "params", "input", "weights", "top-1", "licence")
        click.echo(columns([head, *lines], right=frozenset({1, 4})))
    _footer(registry, query, rows)


def _lines(registry: Registry, row: Row) -> list[tuple[str, ...]]:
    entry, weights = row
    spec = entry.spec
    contract = (weights.input if weights else None) or spec.input
    size = extent(contract.modality, contract.size)
    licence = (weights.license if weights else "") or spec.license
    accuracy = f"{weights.accuracy:.1f}" if weights and weights.accuracy is not None else ""
    tag = weights.tag if weights else "none"
    lines: list[tuple[str, ...]] = [
        (short_name(registry, entry.id, spec.name), count(spec.params), size, tag, accuracy, licence)
    ]
    # An alias is a line of its own: whoever looks for it finds it where the alphabet puts it.
    for alias, aliased in spec.aliases.items():
        lines.append((alias, count(spec.params), size, f"{spec.name}@{aliased or tag}", accuracy, licence))
    return lines


def short_name(registry: Registry, model_id: str, bare: str) -> str:
    """The bare name where it means this model, else the full one."""
    return bare if registry.means(bare) == model_id else model_id


def _json(registry: Registry, row: Row) -> dict[str, Any]:
    entry, weights = row
    spec = entry.spec
    return {
        "id": entry.id,
        "name": short_name(registry, entry.id, spec.name),
        "aliases": dict(spec.aliases),
        "modality": spec.input.modality,
        "family": spec.family,
        "params": spec.params,
        "dim": spec.dim,
        "input_size": list(((weights.input if weights else None) or spec.input).size),
        "weights": weights.tag if weights else None,
        "all_weights": [w.tag for w in registry.weights_of(entry.id)],
        "accuracy": weights.accuracy if weights else None,
        "license": (weights.license if weights else "") or spec.license,
        "plugin": entry.plugin.distribution or entry.plugin.name,
    }


def _footer(registry: Registry, query: Query, rows: list[Row]) -> None:
    total = sum(len(registry.weights_of(row.entry.id)) for row in rows)
    if rows:
        say(f"{len(rows)} models, {total} checkpoints. `zoo info NAME` tells more.")
        return
    guesses = near(query.pattern, (entry.spec.name for entry in registry.models())) if query.pattern else []
    say("No model fits." + (f" Near: {', '.join(guesses)}." if guesses else " Fewer filters find more."))
