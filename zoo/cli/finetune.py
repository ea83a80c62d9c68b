"""``zoo finetune``: options are the fields of FinetuneConfig, so the two never part."""

from __future__ import annotations

import json
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from zoo.config import FinetuneConfig, make_config, read_config
from zoo_registry.errors import UsageError


def _click_type(annotation: Any) -> Any:
    """``float | None`` -> float; ``Literal["a", "b"]`` -> a choice."""
    options = [a for a in get_args(annotation) if a is not type(None)]
    if get_origin(annotation) in (Union, types.UnionType) and len(options) == 1:
        annotation = options[0]
    if get_origin(annotation) is Literal:
        return click.Choice(list(get_args(annotation)))
    return annotation


def _help(field: FieldInfo) -> str:
    silent = field.is_required() or field.default is None or isinstance(field.default, bool)
    default = "" if silent else f"  [default: {field.default}]"
    return f"{field.description}{default}"


def config_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """One option per field that is no argument. Defaults stay None here, so that only given flags override a file."""
    for name, field in reversed(FinetuneConfig.model_fields.items()):
        if name == "model":
            continue
        flag = "--" + name.replace("_", "-")
        if field.annotation is bool:
            off = f"/--no-{flag[2:]}"
            option = click.option(flag + off, name, default=None, help=_help(field))
        else:
            option = click.option(flag, name, type=_click_type(field.annotation), default=None, help=_help(field))
        command = option(command)
    return command


@click.command(name="finetune")
@click.argument("model", required=False)
@config_options
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
        config = make_config(values)
        from zoo.recipes import run_finetune

        result = run_finetune(config, output=output, show_groups=show_groups)
    if as_json:
        click.echo(json.dumps({"schema_version": 1, "run": str(result.run), "metrics": result.metrics}))
    else:
        click.echo(str(result.run))
