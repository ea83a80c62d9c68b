"""`zoo plugins`: what is installed and whether it works."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter

import click

from zoo import default_registry
from zoo.cli.table import columns
from zoo.console import say
from zoo_registry.errors import PluginError
from zoo_registry.loader import describe


@click.command()
@click.option("--check", is_flag=True, help="Exit with 4 if a plugin failed or claims a taken name.")
@click.option("--timings", is_flag=True, help="Show how long each took to load.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(check: bool, timings: bool, as_json: bool) -> None:
    """List plugins: namespace, package, status, and what each provides."""
    registry = default_registry()
    records = registry.plugins()
    entries = {
        "models": registry.models(),
        "weights": registry.weights(),
        "heads": registry.heads(),
        "objectives": registry.objectives(),
        "datasets": registry.datasets(),
    }
    provides = {kind: Counter(entry.plugin for entry in found) for kind, found in entries.items()}
    if as_json:
        listed = [
            dataclasses.asdict(record) | {"provides": {kind: found[record] for kind, found in provides.items()}}
            for record in records
        ]
        click.echo(json.dumps({"schema_version": 1, "plugins": listed}, indent=1))
    else:
        rows = [("name", "package", "status", *(["ms"] if timings else []), "provides")]
        for record in records:
            given = ", ".join(f"{found[record]} {kind}" for kind, found in provides.items() if found[record])
            package = f"{record.distribution} {record.version}".strip()
            time = [f"{record.milliseconds:.1f}"] if timings else []
            rows.append((record.name, package, record.status, *time, given))
        click.echo(columns(rows, right=frozenset({3}) if timings else frozenset()))
        for record in records:
            # Failures were told on stderr when they happened.
            if record.status in ("declined", "blocked"):
                say(describe(record))
    broken = [record for record in records if record.status in ("failed", "shadowed")]
    if check and broken:
        raise PluginError(
            f"{len(broken)} of {len(records)} plugins do not work: {'; '.join(map(describe, broken))}.",
            "Repair or uninstall the packages named.",
        )
