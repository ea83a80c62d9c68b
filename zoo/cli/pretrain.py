"""``zoo pretrain``: options are the fields of PretrainConfig, so the two never part."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import yaml

from zoo.cli.options import config_options
from zoo.cli.table import columns
from zoo.config import PretrainConfig, make_config, read_config
from zoo_registry.errors import UsageError


@click.command(name="pretrain")
@click.argument("model", required=False)
@config_options(PretrainConfig)
@click.option("--option", "-O", "options", multiple=True, metavar="NAME=VALUE", help="setting of the objective")
@click.option("--list", "list_objectives", is_flag=True, help="the objectives, what they are for and their settings")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="YAML file of these options; flags win")
@click.option("--resume", type=click.Path(path_type=Path), metavar="RUN", help="go on with an unfinished run, exactly")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="run folder to make  [default: runs/<time>-...]")
@click.option("--json", "as_json", is_flag=True, help="end with one JSON line on stdout")
def command(
    model: str | None,
    options: tuple[str, ...],
    list_objectives: bool,
    config_file: Path | None,
    resume: Path | None,
    output: Path | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Pretrain MODEL on --data without labels; a finetune then starts from the run folder.

    \b
    zoo pretrain bert_tiny --objective mlm --data texts/
    zoo pretrain conformer --objective hubert --data recordings/ -O clusters=50
    zoo pretrain resnet50 --data fractals:classes=500,images=100
    zoo finetune runs/20260101-120000-pretrain-bert_tiny-texts --data sst2
    zoo pretrain --resume runs/20260101-120000-pretrain-bert_tiny-texts
    """
    if list_objectives:
        click.echo(_objectives())
        return
    given = {name: value for name, value in flags.items() if value is not None}
    if model is not None:
        given["model"] = model
    if resume is not None:
        if given or options or config_file or output:
            raise UsageError(
                "--resume takes its settings from the run.", "Leave the other options out, or start a new run."
            )
        from zoo.pretraining import resume_pretrain

        result = resume_pretrain(resume)
    else:
        values = {**(read_config(config_file) if config_file else {}), **given}
        if options:
            values["options"] = {**values.get("options", {}), **_settings(options)}
        if "model" not in values or "data" not in values:
            raise UsageError(
                "A model and --data are needed.", "For example: zoo pretrain bert_tiny --objective mlm --data texts/"
            )
        config = make_config(PretrainConfig, values)
        from zoo.pretraining import run_pretrain

        result = run_pretrain(config, output=output)
    if as_json:
        click.echo(json.dumps({"schema_version": 1, "run": str(result.run), "metrics": result.metrics}))
    else:
        click.echo(str(result.run))


def _settings(options: Sequence[str]) -> dict[str, Any]:
    values = {}
    for one in options:
        name, equals, value = one.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"The setting {one!r} has no value.", "Write it like -O whole_word=true.")
        values[name.strip().replace("-", "_")] = yaml.safe_load(value)
    return values


def _objectives() -> str:
    import zoo

    rows = [["objective", "for", "what it does"]]
    entries = zoo.default_registry().objectives()
    rows += [[entry.spec.name, ", ".join(entry.spec.modalities), entry.spec.summary] for entry in entries]
    table = columns(rows).splitlines()
    lines = table[: -len(entries)] if entries else table
    for entry, row in zip(entries, table[-len(entries) :], strict=False):
        settings = ", ".join(f"{name}={value}" for name, value in entry.spec.options.items())
        lines += [row, *textwrap.wrap(settings, 100, initial_indent="    -O ", subsequent_indent="       ")]
    return "\n".join(lines)
