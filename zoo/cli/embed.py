"""``zoo embed``: one vector for each input of a collection."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command(name="embed")
@click.argument("model")
@click.option("--data", required=True, help="folder, table, .txt with a text a line, hf:ORG/NAME or a data-set name")
@click.option("--output", "-o", type=click.Path(path_type=Path), required=True, metavar="FILE", help="FILE.parquet")
@click.option(
    "--tower", metavar="SIDE", help="image, text or audio: the side of a model of pairs  [default: its first]"
)
@click.option("--normalise/--no-normalise", default=False, help="scale vectors to length 1")
@click.option("--batch-size", type=click.IntRange(min=1), default=32, help="inputs at once  [default: 32]")
@click.option("--chunk", type=click.IntRange(min=1), default=2048, help="inputs in a part  [default: 2048]")
@click.option("--max-length", type=int, help="longest text in tokens  [default: the model's own]")
@click.option("--input-column", help="table column holding the inputs")
@click.option("--max-bad", type=click.FloatRange(0, 1), default=0.05, help="share of unreadable inputs that fails")
@click.option("--device", help="cuda, mps or cpu  [default: the best there is]")
@click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16"]), default="fp32", help="[default: fp32]")
@click.option("--force", is_flag=True, help="overwrite FILE, and parts of another model or other data")
@click.option("--json", "as_json", is_flag=True, help="what was written, as JSON")
def command(
    model: str,
    data: str,
    output: Path,
    tower: str | None,
    normalise: bool,
    batch_size: int,
    chunk: int,
    max_length: int | None,
    input_column: str | None,
    max_bad: float,
    device: str | None,
    precision: str,
    force: bool,
    as_json: bool,
) -> None:
    """Write the vectors that MODEL (a model name, run, checkpoint or model folder) gives to all of --data.

    A stopped command goes on where it was when it is given again.

    \b
    zoo embed resnet50 --data photos/ -o photos.parquet
    zoo embed all-minilm-l6-v2 --data questions.txt -o questions.parquet --normalise
    zoo embed runs/voices --data recordings/ -o voices.parquet
    zoo embed ViT-B-32 --tower text --data captions.txt -o captions.parquet --normalise
    """
    from zoo.embedding import embed

    summary = embed(
        model,
        data,
        output,
        tower=tower,
        normalise=normalise,
        batch_size=batch_size,
        chunk=chunk,
        max_length=max_length,
        input_column=input_column,
        max_bad=max_bad,
        device=device,
        precision=precision,
        force=force,
    )
    click.echo(json.dumps(summary) if as_json else summary["output"])
