"""``zoo publish``: a run's weights for others, as files, a model card and a wheel."""

from __future__ import annotations

import json
from pathlib import Path

import click

from zoo.cli.output import write_output


@click.command(name="publish")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--output", "-o", type=click.Path(path_type=Path), required=True, metavar="DIR", help="folder to make")
@click.option("--name", help="what the weights are called: MODEL@NAME  [default: the name of the data]")
@click.option("--version", default="0.1.0", help="of the package  [default: 0.1.0]")
@click.option("--license", default="", help="of the weights, such as Apache-2.0  [default: not stated]")
@click.option("--force", is_flag=True, help="replace DIR if it holds published weights")
@click.option("--json", "as_json", is_flag=True, help="what was written, as JSON")
def command(run: Path, output: Path, name: str | None, version: str, license: str, force: bool, as_json: bool) -> None:
    """Write the backbone of RUN to DIR: backbone.safetensors under the original library's names, a model card, and a
    wheel that needs no network: once installed, MODEL@NAME is a model to finetune.

    \b
    zoo publish runs/pretrained -o acme-weights --name acme --license Apache-2.0
    pip install acme-weights/*.whl
    zoo finetune resnet50@acme --data photos/
    """
    from zoo.publishing import publish

    made = publish(run, output, name=name, version=version, license=license, force=force)
    if as_json:
        facts = {"path": str(made.path), "wheel": str(made.wheel), "weights": made.weights, "command": made.command}
        write_output(json.dumps({"schema_version": 1, **facts}, indent=2) + "\n", None)
        return
    size = made.wheel.stat().st_size / 1e6
    lines = [f"{made.path}: backbone.safetensors, model.json, README.md, {made.wheel.name} ({size:.1f} MB)"]
    lines += ["", f"pip install {made.wheel}", made.command]
    write_output("\n".join(lines) + "\n", None)
