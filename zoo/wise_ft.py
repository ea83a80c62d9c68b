"""WiSE-FT at the end of finetuning: the kept weights lie between those it began with and those it came to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from zoo.console import say
from zoo.data.batches import Eval
from zoo.engine.checkpoint import Checkpoints, assign, full_tensors
from zoo.engine.evaluate import evaluate
from zoo.interpolation import interpolate

if TYPE_CHECKING:
    from zoo.stages import Context

START = "start"
"""Checkpoint of what end-to-end training began with."""

ENDS = {0.0: "the start", 1.0: "finetuned"}


def keep_start(context: Context) -> None:
    """Save what the task holds, once: a run that goes on later still mixes in what it began with."""
    checkpoints = Checkpoints(context.run.path / "checkpoints")
    tensors = full_tensors(context.task.state_dict())
    if context.runtime.is_main and not checkpoints.has(START):
        checkpoints.save(START, {"model": tensors}, {"identity": context.identity})
    context.runtime.barrier()


def mix_with_start(alpha: float, val: Eval, context: Context) -> None:
    """Put the mixture of the start and the weights that the task holds into the task, with a share of ``alpha`` of the
    latter (:func:`zoo.interpolation.interpolate`). It and both ends are measured on validation, said, and noted in the
    manifest."""
    config, task = context.config, context.task
    start = Checkpoints(context.run.path / "checkpoints").load(START)[0]["model"]
    # Copies: the task's own tensors are about to be overwritten.
    tuned = {name: tensor.cpu().clone() for name, tensor in full_tensors(task.state_dict()).items()}
    points: list[dict[str, Any]] = []
    for share in sorted({0.0, alpha, 1.0}, key=lambda share: share == alpha):  # the kept one last, so that it stays
        assign(task, interpolate(start, tuned, share))
        metrics = evaluate(
            task, val, context.runtime, precision=config.precision or "fp32", channels_last=config.channels_last
        )
        points.append({"alpha": share, "metrics": metrics})
    points.sort(key=lambda point: point["alpha"])
    metric = task.monitor[0]
    _say_table(points, alpha, metric)
    if context.runtime.is_main:
        context.run.update_manifest(wise_ft={"alpha": alpha, "metric": metric, "points": points})


def _say_table(points: Sequence[dict[str, Any]], kept: float, metric: str) -> None:
    say(f"wise-ft: alpha  {metric}")
    for point in points:
        what = [ENDS[point["alpha"]]] if point["alpha"] in ENDS else []
        if point["alpha"] == kept:
            what.append("kept")
        say(f"wise-ft: {point['alpha']:<5g}  {point['metrics'][metric]:.4f}  {', '.join(what)}")
