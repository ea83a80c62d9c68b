"""``zoo export``: a trained run as ONNX, measured against torch before it is handed over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zoo.cli.output import write_output

if TYPE_CHECKING:
    from zoo.exporting import ExportResult


@click.command(name="export")
@click.argument("target", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--output", "-o", type=click.Path(path_type=Path), required=True, metavar="DIR", help="folder to make")
@click.option(
    "--preprocess",
    type=click.Choice(["host", "graph"]),
    default="host",
    help="host: the graph takes prepared images, token ids or waveforms; graph: raw uint8 pixels, resized inside  "
    "[default: host]",
)
@click.option("--precision", type=click.Choice(["fp32", "fp16", "int8"]), default="fp32", help="[default: fp32]")
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    help="largest logit difference  [default: fp32, host 1e-3, of sounds 1e-2]",
)
@click.option(
    "--min-agreement",
    type=click.FloatRange(0, 1),
    help="least share of equal answers  [default: 1.0; graph and fp16 0.99, int8 0.95]",
)
@click.option(
    "--labels", metavar="A,B,...", help="models of pairs: one graph that chooses between these; @FILE: a line each"
)
@click.option("--template", "templates", multiple=True, metavar="TEXT", help="sentence with {} for a label; repeatable")
@click.option("--force", is_flag=True, help="replace DIR if it is an export")
@click.option("--json", "as_json", is_flag=True, help="print model.json's figures as JSON")
def command(
    target: Path,
    output: Path,
    preprocess: str,
    precision: str,
    tolerance: float | None,
    min_agreement: float | None,
    labels: str | None,
    templates: tuple[str, ...],
    force: bool,
    as_json: bool,
) -> None:
    """Export RUN to DIR: model.onnx, model.json, MODEL_CARD.md and the tokenizer of texts. Of a model of images and
    texts, or a run of one, a graph for each side.

    \b
    zoo export runs/pets -o exported
    zoo export runs/digits -o exported-sounds
    zoo export runs/pets -o exported-int8 --precision int8 --preprocess graph
    zoo export ViT-B-32 -o exported-pair
    zoo export ViT-B-32 -o exported-zero-shot --labels "a cat,a dog"
    """
    from zoo.exporting import export
    from zoo.prompts import read_labels

    result = export(
        target,
        output,
        preprocess=preprocess,
        precision=precision,
        tolerance=tolerance,
        min_agreement=min_agreement,
        force=force,
        labels=None if labels is None else read_labels(labels),
        templates=templates or None,
    )
    meta = result.meta
    if as_json:
        shown = {key: meta[key] for key in ("preprocess", "precision", "parity", "latency", "notes", "sha256")}
        write_output(json.dumps({"schema_version": 1, "path": str(result.path), **shown}, indent=2) + "\n", None)
        return
    write_output("\n".join([*_lines(result), *meta["notes"]]) + "\n", None)


def _lines(result: ExportResult) -> list[str]:
    meta, parity = result.meta, result.parity
    size = sum(path.stat().st_size for path in result.path.glob("*.onnx*")) / 1e6
    where = f"preprocessing in the {meta['preprocess']}"
    what = "validation samples" if meta["parity"]["data"] == "val" else "drawn samples"
    lines = [
        f"{result.path}: {meta['model_id']}, {meta['precision']}, {where}, {size:.1f} MB",
        f"same answer on {parity.agreement:.2%} of {parity.samples} {what}, "
        f"largest logit difference {parity.max_logit_difference:.2g}",
    ]
    if parity.scores is not None:
        before, after = parity.scores
        lines.append(f"{parity.score_name}: {before:.4f} in torch, {after:.4f} exported")
    sides = meta["latency"] if meta["task"] == "pairs" else {"": meta["latency"]}
    lines += [_latency(side, one) for side, one in sides.items()]
    if "pixels" in meta["parity"]:
        pixels = meta["parity"]["pixels"]
        lines.append(
            f"pixels prepared in the graph: {pixels['share_differing']:.3%} differ from the pipeline's, "
            f"by at most {pixels['max_levels']:g} of 255 levels"
        )
    return lines


def _latency(side: str, latency: dict[str, Any]) -> str:
    of = f", {latency['tokens']} tokens" if "tokens" in latency else ""
    of = f", {latency['seconds']:.2f} s of sound" if "seconds" in latency else of
    return (
        f"{f'{side}, ' if side else ''}batch 1{of}: {latency['onnx_ms']:.2f} ms, torch eager "
        f"{latency['torch_ms']:.2f} ms ({latency['speedup_over_torch']:.2f}x, one thread each)"
    )
