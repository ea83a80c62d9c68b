"""``zoo data``: look at data before training on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

from zoo.cli.table import columns
from zoo_registry.errors import UsageError

MODALITIES = ("image", "text", "audio", "image-text", "audio-text", "image-audio")
_MOST_CLASSES = 30


@click.group(name="data")
def command() -> None:
    """Look at data sets."""


@command.command(name="show")
@click.argument("data")
@click.option("--modality", type=click.Choice(MODALITIES), help="[default: what the files look like]")
@click.option("--task", help="what the data is for  [default: what it looks like]")
@click.option("--input-column", help="table column holding the inputs")
@click.option("--pair-column", help="table column holding the second texts, or the second side of pairs")
@click.option("--label-column", help="table column holding the labels (several: comma between)")
@click.option("--split-column", help="table column holding the split names")
@click.option("--units", help="what transcripts are spelled in: characters, or a number of pieces of words")
@click.option("--val-fraction", type=float, default=0.2, help="share cut for validation  [default: 0.2]")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="seed of that cut  [default: 0]")
@click.option("--sample/--no-sample", default=True, help="accept the built-in sample where the data is out of reach")
@click.option("--json", "as_json", is_flag=True, help="everything as JSON")
def show(
    data: str,
    modality: str | None,
    task: str | None,
    input_column: str | None,
    pair_column: str | None,
    label_column: str | None,
    split_column: str | None,
    units: str | None,
    val_fraction: float,
    seed: int,
    sample: bool,
    as_json: bool,
) -> None:
    """Show what DATA holds: task, splits, labels, first samples, lengths, and what is odd about it.

    \b
    zoo data show reviews.csv
    zoo data show photos/ --json
    zoo data show captions.csv --modality image-text
    zoo data show 'shards/{000..003}.tar'
    """
    from zoo import default_registry
    from zoo.data.preview import guess_modality, preview
    from zoo.data.sources import load_dataset
    from zoo.pairs import sides

    registry = default_registry()
    modality = modality or guess_modality(data, registry)
    named = {"input": input_column, "pair": pair_column, "label": label_column, "split": split_column}
    settings: dict[str, Any] = {
        "registry": registry,
        "modality": modality,
        "columns": {role: name for role, name in named.items() if name},
        "seed": seed,
        "val_fraction": val_fraction,
        "allow_sample": sample,
    }
    if sides(modality):
        from zoo.data.pairs import load_pairs

        if task or units or label_column:
            raise UsageError("Pairs have no labels and no task.", "Leave --task, --units and --label-column out.")
        dataset = load_pairs(data, **settings)
    else:
        dataset = load_dataset(data, task=task, units=units, **settings)
    found = preview(dataset)
    if as_json:
        click.echo(json.dumps({"schema_version": 1, **found}, indent=1))
    else:
        click.echo(format_preview(found), nl=False)


def format_preview(found: dict[str, Any]) -> str:
    """A preview (:func:`zoo.data.preview.preview`) as tables; its notes were said while reading."""
    splits: dict[str, dict[str, Any]] = found["splits"]
    text = f"{found['name']}: {found['task']} of {found['modality']} data, {found['origin']}\n\n"
    header = ["split", "samples", *(name for name in _MEASURES if any(name in one for one in splits.values()))]
    rows = [
        [split, f"{one['samples']:,}", *(_MEASURES[n](one[n]) for n in header[2:])] for split, one in splits.items()
    ]
    text += columns([header, *rows], right=frozenset({1})) + "\n"
    if names := list(next(iter(splits.values()))["labels"]):
        kept = names[:_MOST_CLASSES]
        rows = [[name, *(f"{one['labels'][name]:,}" for one in splits.values())] for name in kept]
        text += "\n" + columns([["label", *splits], *rows], right=frozenset(range(1, len(splits) + 1))) + "\n"
        text += f"and {len(names) - len(kept)} more\n" if len(names) > len(kept) else ""
    for split, one in splits.items():
        text += f"\nfirst of {split}\n"
        text += "".join(f"  {_sample(sample)}\n" for sample in one["first"])
    return text


def _sample(sample: dict[str, Any]) -> str:
    shown, label = sample["input"], sample["label"]
    shown = " | ".join(shown) if isinstance(shown, list) else shown
    if label is None:
        return str(shown)
    text = ", ".join(map(str, label)) or "(none)" if isinstance(label, list) else label
    return f"{shown}  ->  {text}"


def duration(seconds: float) -> str:
    """Seconds for people."""
    return (
        f"{seconds / 3600:.1f} h"
        if seconds >= 3600
        else f"{seconds / 60:.1f} min"
        if seconds >= 60
        else f"{seconds:.1f} s"
    )


def _range(low_high: list[int]) -> str:
    return f"{low_high[0]}" if low_high[0] == low_high[1] else f"{low_high[0]}..{low_high[1]}"


_MEASURES: dict[str, Callable[[Any], str]] = {
    "distinct": lambda one: ", ".join(f"{count:,} {side}" for side, count in one.items()),
    "words": lambda one: f"{one['min']}..{one['max']}, median {one['median']}, 95 % {one['p95']}",
    "duplicates": str,
    "unanswerable": str,
    "values": lambda one: f"{one['min']:.4g}..{one['max']:.4g}, mean {one['mean']:.4g}",
    "seconds": lambda one: (
        f"{one['min']:.4g}..{one['max']:.4g}, median {one['median']:.4g}, {'about ' if one['estimated'] else ''}"
        f"{duration(one['total'])} in all"
    ),
    "sound": lambda one: (
        ", ".join(
            [f"{rate} Hz" for rate in one["rates"]]
            + [f"{count} channel{'s' if count != '1' else ''}" for count in one["channels"]]
        )
        + (f", {one['unreadable']} unreadable" if one["unreadable"] else "")
    ),
    "transcripts": lambda one: f"{one['words']:,} words, {len(one['characters'])} characters",
    "sizes": lambda one: (
        f"{_range(one['width'])} x {_range(one['height'])}"
        + (f", {one['unreadable']} unreadable" if one["unreadable"] else "")
    ),
}
"""How each measure of a split is written."""
