"""``zoo evaluate``: metrics with their intervals, for people or as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from zoo.cli.output import write_output
from zoo.cli.table import columns
from zoo_registry.errors import UsageError


@click.command(name="evaluate")
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--data", help="labelled data, as for finetune  [default: the data of the run]")
@click.option("--split", help="val, train, test or all  [default: val; all of --data without a split of its own]")
@click.option("--input-column", help="table column holding the inputs")
@click.option("--pair-column", help="table column holding the second text of pairs")
@click.option("--label-column", help="table column holding the labels")
@click.option(
    "--probe",
    type=click.Choice(["knn", "linear"]),
    help="measure frozen features instead: by their nearest neighbours, or a linear layer trained on them",
)
@click.option("--weights", help="with --probe, of a model name: tag, file, or 'none' for random numbers")
@click.option("--size", type=click.IntRange(min=16), help="with --probe: input size in pixels (images)")
@click.option("--batch-size", type=click.IntRange(min=1), default=32, help="samples at once  [default: 32]")
@click.option("--max-bad", type=click.FloatRange(0, 1), default=0.05, help="share of unreadable inputs that fails")
@click.option("--beam", type=click.IntRange(min=1), help="speech: texts followed at once  [default: greedy decoding]")
@click.option(
    "--labels", metavar="A,B,...", help="zero-shot: labels to choose from; @FILE  [default: the data's classes]"
)
@click.option("--template", "templates", multiple=True, metavar="TEXT", help="sentence with {} for a label; repeatable")
@click.option("--json", "as_json", is_flag=True, help="everything as JSON")
@click.option("--output", "-o", type=click.Path(path_type=Path), metavar="FILE", help="write here, not to stdout")
@click.option("--force", is_flag=True, help="overwrite FILE")
def command(
    target: Path,
    data: str | None,
    split: str | None,
    input_column: str | None,
    pair_column: str | None,
    label_column: str | None,
    probe: str | None,
    weights: str | None,
    size: int | None,
    batch_size: int,
    max_bad: float,
    beam: int | None,
    labels: str | None,
    templates: tuple[str, ...],
    as_json: bool,
    output: Path | None,
    force: bool,
) -> None:
    """Measure TARGET (a run, a checkpoint or an export) on labelled data; a model of images and texts, by name, run or
    export, also on pairs: what is found of one side from the other. With --probe TARGET is a run (pretrained or
    finetuned) or a model name, and its features are measured as they are.

    \b
    zoo evaluate runs/pets
    zoo evaluate exported/ --data more_pets/ --json
    zoo evaluate ViT-B-32 --data cats_dogs
    zoo evaluate ViT-B-32 --data captions.csv
    zoo evaluate runs/pretrained --probe linear --data cats_dogs
    """
    if output is not None and output.exists() and not force:
        raise UsageError(f"{output} exists.", "Choose another -o, or --force to overwrite it.")
    named = {"input": input_column, "pair": pair_column, "label": label_column}
    chosen = {kind: name for kind, name in named.items() if name}
    if probe is not None:
        if beam is not None or labels is not None or templates:
            raise UsageError("A probe measures features.", "Leave --beam, --labels and --template out.")
        import zoo

        result = zoo.probe(
            target, data, probe, split=split or "val", weights=weights, size=size, columns=chosen, max_bad=max_bad
        )
        write_output(json.dumps(result, indent=2) + "\n" if as_json else format_evaluation(result), output)
        return
    if weights is not None or size is not None:
        raise UsageError("--weights and --size are for --probe.", "Add --probe knn, or leave them out.")
    from zoo.measure import evaluate
    from zoo.prompts import read_labels

    result = evaluate(
        target,
        data,
        split=split,
        columns=chosen,
        batch_size=batch_size,
        max_bad=max_bad,
        beam=beam,
        labels=None if labels is None else read_labels(labels),
        templates=templates or None,
    )
    write_output(json.dumps(result, indent=2) + "\n" if as_json else format_evaluation(result), output)


def format_evaluation(result: dict[str, Any]) -> str:
    """Metrics and classes as two tables."""
    lines = [["metric", "value", "95 % interval"]]
    for name, value in result["metrics"].items():
        low_high = result["intervals"].get(name)
        lines.append([name, _number(value), f"{_number(low_high[0])} .. {_number(low_high[1])}" if low_high else ""])
    what = "pairs" if result["task"] == "retrieval" else "samples"
    text = f"{result['target']}: {result['task']}, {result['n']:,} {what} of {result['data']} ({result['split']})\n\n"
    text += columns(lines, right=frozenset({1})) + "\n"
    if classes := result.get("classes"):
        header = ["class", "samples"]
        rows = [[*header, *(part for name in ("precision", "recall", "f1") for part in (name, "95 %"))]]
        for one in classes:
            row = [one["name"], str(one["support"])]
            for name in ("precision", "recall", "f1"):
                low_high = one["intervals"].get(name)
                row += [_number(one[name]), f"{low_high[0]:.3f} .. {low_high[1]:.3f}" if low_high else ""]
            rows.append(row)
        text += "\n" + columns(rows, right=frozenset({1, 2, 4, 6})) + "\n"
    for note in result.get("notes", []):
        text += f"\n{note}\n"
    return text


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}" if abs(value) < 1000 else f"{value:.6g}"
