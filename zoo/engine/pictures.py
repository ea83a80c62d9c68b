"""What a task has to show after an evaluation (:class:`zoo.protocols.Shows`): into TensorBoard and the run folder."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from zoo.engine.evaluate import prepared
from zoo.engine.logger import Logger
from zoo.engine.run import Run
from zoo.protocols import EvalBatches, Shows

SHOWN = 32  # samples of the validation split


@torch.no_grad()
def show_pictures(run: Run, val: EvalBatches, logger: Logger) -> None:
    """The task's pictures of the first validation samples, as grids. Not where parameters are sharded: a forward pass
    would need all processes."""
    if run.runtime.sharded or not isinstance(run.task, Shows):
        return
    batch = next(iter(val.stream(0, 1)))
    piece = run.runtime.to_device({name: tensor[:SHOWN] for name, tensor in batch.items()})
    run.task.eval()  # type: ignore[attr-defined]
    with run.runtime.autocast(run.config.precision):
        found = run.task.show(prepared(val.transform(piece), run.config.channels_last))
    logger.pictures(run.progress.step, {name: grid(images) for name, images in found.items()})


def grid(images: Tensor) -> Tensor:
    """(N, C, H, W) uint8 -> (C, rows * H, columns * W), about square, filled up with black."""
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    canvas = images.new_zeros((rows * columns, *images.shape[1:]))
    canvas[: len(images)] = images
    channels, height, width = canvas.shape[1:]
    laid = canvas.view(rows, columns, channels, height, width).permute(2, 0, 3, 1, 4)
    return laid.reshape(channels, rows * height, columns * width).cpu()
