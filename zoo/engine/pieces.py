"""The micro-batches of a step, each on the device, transformed, with the random numbers of its place in the run."""

from __future__ import annotations

from collections.abc import Iterator

from zoo.engine.evaluate import prepared
from zoo.engine.run import Run
from zoo.engine.seeds import seed_torch
from zoo.protocols import Batch


def pieces(run: Run, phase: str, batch: Batch) -> Iterator[tuple[Batch, bool]]:
    """(micro-batch, whether it is the last). Going through them again gives the same, and dropout draws the same."""
    config, runtime, step = run.config, run.runtime, run.progress.step
    rows = len(batch["index"])
    size = run.progress.micro_batch or rows
    for number, start in enumerate(range(0, rows, size)):
        piece = runtime.to_device({name: tensor[start : start + size] for name, tensor in batch.items()})
        piece = prepared(run.train.transform(piece, step // run.train.steps_per_epoch), config.channels_last)
        seed_torch(runtime.device, config.seed, step, runtime.rank, run.task.phases.index(phase), number)
        yield piece, start + size >= rows
