"""``zoo predict``: labels for files. With an export folder it imports no torch."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import click

from zoo.cli.output import write_output
from zoo.cli.table import columns
from zoo_registry.errors import UsageError


@click.command(name="predict")
@click.argument("target", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, required=True)
@click.option(
    "--format", "style", type=click.Choice(["table", "jsonl", "csv"]), default="table", help="[default: table]"
)
@click.option("--json", "as_json", is_flag=True, help="one JSON list")
@click.option("--top", type=click.IntRange(min=1), metavar="K", help="only the K best labels")
@click.option("--batch-size", type=click.IntRange(min=1), default=32, help="inputs at once  [default: 32]")
@click.option("--max-bad", type=click.FloatRange(0, 1), default=0.05, help="share of unreadable inputs that fails")
@click.option("--output", "-o", type=click.Path(path_type=Path), metavar="FILE", help="write here, not to stdout")
@click.option("--force", is_flag=True, help="overwrite FILE")
def command(
    target: Path,
    inputs: tuple[str, ...],
    style: str,
    as_json: bool,
    top: int | None,
    batch_size: int,
    max_bad: float,
    output: Path | None,
    force: bool,
) -> None:
    """Predict INPUTS (files, folders or patterns) with TARGET (a run, a checkpoint or an export).

    \b
    zoo predict runs/pets photo.jpg
    zoo predict exported/ photos/ --format csv -o labels.csv
    """
    from zoo.predicting import find_inputs, keep_top, predict_inputs
    from zoo.targets import open_target

    if output is not None and output.exists() and not force:
        raise UsageError(f"{output} exists.", "Choose another -o, or --force to overwrite it.")
    files = find_inputs(inputs)
    model = open_target(target)
    result = predict_inputs(model, files, batch_size=batch_size)
    rows = [{**row, "scores": keep_top(row["scores"], top)} for row in result.rows]
    if as_json:
        text = json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
    elif style == "jsonl":
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    elif style == "csv":
        text = _csv(rows, model.labels, top)
    else:
        text = _table(rows, top) if rows else ""
    # The good ones are handed over even where too many were bad: nothing that was computed is lost.
    write_output(text, output)
    result.check(max_bad)


def _label(row: dict[str, Any]) -> str:
    label = row["label"]
    return "" if label is None else "|".join(label) if isinstance(label, list) else label


def _table(rows: list[dict[str, Any]], top: int | None) -> str:
    lines = [["input", "label", "score"]]
    for row in rows:
        if top is not None and row["scores"]:
            lines += [
                [row["input"] if i == 0 else " ", label, f"{score:.4f}"]
                for i, (label, score) in enumerate(row["scores"].items())
            ]
        else:
            lines.append([row["input"], _label(row), f"{row['score']:.4f}"])
    return columns(lines, right=frozenset({2})) + "\n"


def _csv(rows: list[dict[str, Any]], labels: tuple[str, ...], top: int | None) -> str:
    """All probabilities, one column a label; with --top the best labels and their scores side by side."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    if top is None:
        writer.writerow(["input", "label", "score", *labels])
        for row in rows:
            writer.writerow([row["input"], _label(row), row["score"], *(row["scores"][label] for label in labels)])
    else:
        ranks = range(1, min(top, len(labels)) + 1)
        writer.writerow(["input", "label", "score", *(f"{kind}_{i}" for i in ranks for kind in ("label", "score"))])
        for row in rows:
            pairs = [value for pair in row["scores"].items() for value in pair]
            writer.writerow([row["input"], _label(row), row["score"], *pairs])
    return buffer.getvalue()
