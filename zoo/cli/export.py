"""``zoo export``: a trained run as ONNX, measured against torch before it is handed over."""

from __future__ import annotations

import json
from pathlib import Path

import click

from zoo.cli.output import write_output


@click.command(name="export")
@click.argument("run", type=click.Path(path_type=Path))
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
@click.option("--force", is_flag=True, help="replace DIR if it is an export")
@click.option("--json", "as_json", is_flag=True, help="print model.json's figures as JSON")
def command(
    run: Path,
    output: Path,
    preprocess: str,
    precision: str,
    tolerance: float | None,
    min_agreement: float | None,
    force: bool,
    as_json: bool,
) -> None:
    """Export RUN to DIR: model.onnx, model.json, MODEL_CARD.md and the tokenizer of texts.

    \b
    zoo export runs/pets -o exported
    zoo export runs/digits -o exported-sounds
    zoo export runs/pets -o exported-int8 --precision int8 --preprocess graph
    """
    from zoo.exporting import export

    result = export(
        run,
        output,
        preprocess=preprocess,
        precision=precision,
        tolerance=tolerance,
        min_agreement=min_agreement,
        force=force,
    )
    meta = result.meta
    if as_json:
        shown = {key: meta[key] for key in ("preprocess", "precision", "parity", "latency", "notes", "sha256")}
        write_output(json.dumps({"schema_version": 1, "path": str(result.path), **shown}, indent=2) + "\n", None)
        return
    parity, latency = result.parity, meta["latency"]
    of = f", {latency['tokens']} tokens" if "tokens" in latency else ""
    of = f", {latency['seconds']:.2f} s of sound" if "seconds" in latency else of
    size = (result.path / "model.onnx").stat().st_size / 1e6
    lines = [
        f"{result.path}: {meta['model_id']}, {precision}, preprocessing in the {preprocess}, {size:.1f} MB",
        f"same answer on {parity.agreement:.2%} of {parity.samples} validation samples, "
        f"largest logit difference {parity.max_logit_difference:.2g}",
        f"{parity.score_name}: {parity.score_torch:.4f} in torch, {parity.score_onnx:.4f} exported",
        f"batch 1{of}: {latency['onnx_ms']:.2f} ms, torch eager {latency['torch_ms']:.2f} ms "
        f"({latency['speedup_over_torch']:.2f}x, one thread each)",
    ]
    if "pixels" in meta["parity"]:
        pixels = meta["parity"]["pixels"]
        lines.append(
            f"pixels prepared in the graph: {pixels['share_differing']:.3%} differ from the pipeline's, "
            f"by at most {pixels['max_levels']:g} of 255 levels"
        )
    write_output("\n".join([*lines, *meta["notes"]]) + "\n", None)
