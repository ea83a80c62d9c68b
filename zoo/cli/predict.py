"""``zoo predict``: labels for files and texts, texts for speech. With an export folder it imports no torch."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import click

from zoo.cli.output import write_output
from zoo.cli.table import columns
from zoo.data.items import shorten
from zoo.data.labels import AUDIO_TASKS
from zoo_registry.errors import UsageError

WIDTH = 60
"""Characters of a text in the table."""


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
@click.option("--pair", metavar="TEXT", help="second text of each text; the context of a question")
@click.option("--input-column", metavar="NAME", help="column of a table that holds the texts")
@click.option(
    "--max-new-tokens",
    type=click.IntRange(min=1),
    help="how far a language model goes on  [default: 50, or half of what it takes]",
)
@click.option("--labels", metavar="A,B,...", help="zero-shot: labels to choose from; @FILE: a label a line")
@click.option("--template", "templates", multiple=True, metavar="TEXT", help="sentence with {} for a label; repeatable")
@click.option("--beam", type=click.IntRange(min=1), help="texts followed at once in speech (runs)  [default: greedy]")
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
    pair: str | None,
    input_column: str | None,
    max_new_tokens: int | None,
    labels: str | None,
    templates: tuple[str, ...],
    beam: int | None,
    output: Path | None,
    force: bool,
) -> None:
    """Predict INPUTS with TARGET (a run, a checkpoint or an export; with --labels a model of images and texts).

    INPUTS are files, folders or patterns; for models of texts they are texts, .txt files (a text a line), tables, or -
    for the lines of standard input.

    \b
    zoo predict runs/pets photo.jpg
    zoo predict exported/ photos/ --format csv -o labels.csv
    zoo predict runs/digits clip.wav recordings/
    zoo predict runs/reviews "a warm film" more.txt
    zoo predict ViT-B-32 photos/ --labels "a cat,a dog" --template "a photo of a {}."
    """
    from zoo.predicting import gather, keep_top, modality_of, predict_inputs
    from zoo.prompts import read_labels
    from zoo.targets import open_target
    from zoo.text_inputs import arguments

    if output is not None and output.exists() and not force:
        raise UsageError(f"{output} exists.", "Choose another -o, or --force to overwrite it.")
    named = None if labels is None else read_labels(labels)
    model = open_target(target, named, templates or None)
    given = arguments(inputs) if modality_of(model) == "text" else inputs
    found = gather(model, given, pair=pair, column=input_column)
    result = predict_inputs(model, found, batch_size=batch_size, max_new_tokens=max_new_tokens, beam=beam)
    rows = [{**row, "scores": keep_top(row["scores"], top)} for row in result.rows]
    if as_json:
        text = json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
    elif style == "jsonl":
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    elif style == "csv":
        # Letters, events and speakers have no scores of their own.
        text = _csv(rows, () if model.task in AUDIO_TASKS else model.labels, top)
    else:
        text = _table(rows, top, modality_of(model) == "text") if rows else ""
    # The good ones are handed over even where too many were bad: nothing that was computed is lost.
    write_output(text, output)
    result.check(max_bad)


def _label(row: dict[str, Any]) -> str:
    """The answer in one line: found entities or events where there are some, else the label."""
    if row.get("entities"):
        return ", ".join(f"{one['text']} ({one['label']})" for one in row["entities"])
    if "words" in row:
        return " ".join(f"{word}/{tag}" for word, tag in zip(row["words"], row["label"], strict=True) if tag != "O")
    label = row["label"]
    if isinstance(label, list):
        return "|".join(one if isinstance(one, str) else _event(one) for one in label)
    return "" if label is None else label


def _event(one: dict[str, Any]) -> str:
    return f"{one['label']} {one['start']:.2f}-{one['end']:.2f}"


def _input(row: dict[str, Any], width: int | None = None) -> str:
    """The input in one line, the texts of a pair divided by ``|``; at most ``width`` characters."""
    given = row["input"]
    words = "words" in row and isinstance(given, list)
    text = (" " if words else " | ").join(given) if isinstance(given, list) else str(given)
    text = " ".join(text.split())
    return shorten(text, width) if width else text


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _table(rows: list[dict[str, Any]], top: int | None, texts: bool) -> str:
    if all("embedding" in row for row in rows):
        return _vectors(rows)
    lines = [["input", "label", "score"]]
    for row in rows:
        shown = _input(row, WIDTH) if texts else row["input"]
        if top is not None and row["scores"]:
            lines += [
                [shown if i == 0 else " ", label, f"{score:.4f}"]
                for i, (label, score) in enumerate(row["scores"].items())
            ]
        else:
            label = " ".join(_label(row).split()) if texts else _label(row)
            lines.append([shown, label, _number(row["score"])])
    return columns(lines, right=frozenset({2})) + "\n"


def _vectors(rows: list[dict[str, Any]]) -> str:
    """The first numbers of each vector; all of them are in the other formats."""
    lines = [["input", "vector"]]
    for row in rows:
        vectors = row["embedding"] if isinstance(row["embedding"][0], list) else [row["embedding"]]
        lines += [
            [_input(row, WIDTH) if i == 0 else " ", " ".join(f"{x:.4f}" for x in one[:4]) + f" ... ({len(one)})"]
            for i, one in enumerate(vectors)
        ]
    return columns(lines) + "\n"


def _csv(rows: list[dict[str, Any]], labels: tuple[str, ...], top: int | None) -> str:
    """All probabilities, one column a label; with --top the best labels and their scores side by side."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    if top is None:
        writer.writerow(["input", "label", "score", *labels])
        for row in rows:
            scores = [row["scores"].get(label, "") for label in labels]
            writer.writerow([_input(row), _label(row), row["score"], *scores])
    else:
        ranks = range(1, min(top, len(labels)) + 1)
        writer.writerow(["input", "label", "score", *(f"{kind}_{i}" for i in ranks for kind in ("label", "score"))])
        for row in rows:
            pairs = [value for pair in row["scores"].items() for value in pair]
            writer.writerow([_input(row), _label(row), row["score"], *pairs])
    return buffer.getvalue()
