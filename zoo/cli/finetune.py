"""``zoo finetune``: options are the fields of FinetuneConfig, so the two never part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from zoo.cli.options import config_options
from zoo.config import FinetuneConfig, make_config, read_config
from zoo_registry.errors import UsageError


@click.command(name="finetune")
@click.argument("model", required=False)
@config_options(FinetuneConfig)
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="YAML file of these options; flags win")
@click.option("--resume", type=click.Path(path_type=Path), metavar="RUN", help="go on with an unfinished run, exactly")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="run folder to make  [default: runs/<time>-...]")
@click.option("--show-groups", is_flag=True, help="print the table of parameter groups and learning rates")
@click.option("--json", "as_json", is_flag=True, help="end with one JSON line on stdout")
def command(
    model: str | None,
    config_file: Path | None,
    resume: Path | None,
    output: Path | None,
    show_groups: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Finetune MODEL on --data: train, measure, and write a run folder.

    \b
    zoo finetune resnet50 --data cats_dogs
    zoo finetune efficientnet_lite0 --data photos/ --strategy head
    zoo finetune ViT-B-32 --data photos/ --head zero-shot --wise-ft 0.5
    zoo finetune --resume runs/20260101-120000-finetune-resnet50-photos
    """
    given = {name: value for name, value in flags.items() if value is not None}
    if model is not None:
        given["model"] = model
    if resume is not None:
        if given or config_file or output:
            raise UsageError(
                "--resume takes its settings from the run.", "Leave the other options out, or start a new run."
            )
        from zoo.recipes import resume_finetune

        result = resume_finetune(resume)
    else:
        values = {**(read_config(config_file) if config_file else {}), **given}
        if "model" not in values or "data" not in values:
            raise UsageError(
                "A model and --data are needed.", "For example: zoo finetune efficientnet_lite0 --data cats_dogs"
            )
        config = make_config(FinetuneConfig, values)
        from zoo.recipes import run_finetune

        result = run_finetune(config, output=output, show_groups=show_groups)
    if as_json:
        click.echo(json.dumps({"schema_version": 1, "run": str(result.run), "metrics": result.metrics}))
    else:
        click.echo(str(result.run))
