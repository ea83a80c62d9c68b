"""One pass over a split: metrics for people and for choosing the best weights, or the bare logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from zoo.engine.memory import free, is_out_of_memory
from zoo.engine.runtime import Runtime
from zoo.engine.signals import Stopped
from zoo.protocols import Batch, EvalBatches
from zoo_registry.errors import ZooError

Output = tuple[Batch, Tensor, Tensor, Tensor | None]


def evaluate(
    task: Any,
    batches: EvalBatches,
    runtime: Runtime,
    *,
    precision: str = "fp32",
    channels_last: bool = False,
    stop: Callable[[], int] = int,
) -> dict[str, float]:
    """Metrics of the task over a split, plus ``loss``, synchronised over processes. Puts the task in evaluation mode.

    A task with several phases is evaluated in its last one. ``stop`` is asked after each batch; once it (on any
    process) returns anything but 0 the evaluation is given up.

    Raises:
        ZooError: not even one sample fits into memory, or the split is empty.
        zoo.engine.signals.Stopped: ``stop`` asked for it.
    """
    metrics = task.metrics().to(runtime.device)
    metrics.reset()
    totals = torch.zeros(2, dtype=torch.float64 if runtime.device.type != "mps" else torch.float32)
    totals = totals.to(runtime.device)
    for batch, loss, count, logits in _outputs(task, batches, runtime, precision, channels_last):
        totals += torch.stack([loss.to(totals), count.to(totals)])
        if logits is not None:
            metrics.update(logits.float(), batch)
        if stop() and not runtime.sharded:
            break
    if runtime.maximum(stop()):
        raise Stopped
    totals = runtime.sum(totals)
    loss_sum, count_sum = totals.tolist()
    if not count_sum:
        raise ZooError("There is nothing to evaluate: the split holds no target.", "Give data with labels.")
    return {**metrics.compute(), "loss": loss_sum / count_sum}


def collect(task: Any, batches: EvalBatches, runtime: Runtime, precision: str = "fp32") -> tuple[Tensor, Tensor]:
    """(logits (n, ...) float32, index (n,) int64) of a split on the CPU of every process, in row order.

    Batches whose logits have one row a token, (B, N, ...), are padded with zeros to the longest; what stands beyond a
    sample's own length means nothing.
    """
    logits: list[Tensor] = []
    index: list[Tensor] = []
    for batch, _, _, outputs in _outputs(task, batches, runtime, precision, False):
        if outputs is None:
            raise ZooError("This task makes no predictions.", "Finetune it with a head first.")
        logits.append(outputs.float().cpu())
        index.append(batch["index"].cpu())
    if not index:
        raise ZooError("There is nothing to evaluate: the split is empty.", "Give data with at least one sample.")
    rows = runtime.gather_rows(torch.cat(index)).cpu()
    values = runtime.gather_rows(_concatenate(logits, runtime)).cpu()
    order = rows.argsort()
    return values[order], rows[order]


def _concatenate(pieces: list[Tensor], runtime: Runtime) -> Tensor:
    """All rows in one tensor, the second dimension padded with zeros to its longest over all processes."""
    if pieces[0].ndim < 2:
        return torch.cat(pieces)
    longest = runtime.maximum(max(piece.shape[1] for piece in pieces))
    whole = pieces[0].new_zeros((sum(map(len, pieces)), longest, *pieces[0].shape[2:]))
    start = 0
    for piece in pieces:
        whole[start : start + len(piece), : piece.shape[1]] = piece
        start += len(piece)
    return whole


def _outputs(
    task: nn.Module, batches: EvalBatches, runtime: Runtime, precision: str, channels_last: bool
) -> Iterator[Output]:
    """(batch on the device, loss_sum, count, outputs) for pieces of this process's share, in order."""
    task.eval()
    phase = task.phases[-1]  # type: ignore[union-attr, index]
    limit: int | None = None
    # Not inference_mode: what a module caches in it (position tables, masks) would break the next training step.
    with torch.no_grad():
        for batch, real in _in_step(batches.stream(runtime.rank, runtime.world), runtime):
            start, rows = 0, len(batch["index"])
            while start < rows:
                piece = {name: tensor[start : start + (limit or rows)] for name, tensor in batch.items()}
                try:
                    piece = prepared(batches.transform(runtime.to_device(piece)), channels_last)
                    with runtime.autocast(precision):
                        loss, count, _, logits = task(piece, phase)
                except Exception as error:
                    if not is_out_of_memory(error):
                        raise
                    if runtime.sharded or (limit or rows) == 1:
                        raise ZooError(
                            f"Memory ran out while evaluating {limit or rows} samples.",
                            "Use a smaller model, a smaller input size or --precision bf16.",
                        ) from None
                    limit = max(1, (limit or rows) // 2)
                    free(runtime.device)
                    continue
                start += len(piece["index"])
                if real:
                    yield piece, loss, count, logits


def _in_step(stream: Iterator[Batch], runtime: Runtime) -> Iterator[tuple[Batch, bool]]:
    """(batch, whether it counts). A forward pass of a sharded task needs all processes, so one whose share is used up
    repeats its last batch, uncounted, until the longest share is done."""
    batch: Batch = {}
    while True:
        fresh = next(stream, None)
        if not (runtime.maximum(fresh is not None) if runtime.sharded else fresh is not None):
            return
        batch = batch if fresh is None else fresh
        yield batch, fresh is not None


def prepared(batch: Batch, channels_last: bool) -> Batch:
    """Image-like inputs in channels-last memory order where asked for."""
    if not channels_last:
        return batch
    return {
        name: tensor.contiguous(memory_format=torch.channels_last)
        if tensor.ndim == 4 and tensor.is_floating_point()
        else tensor
        for name, tensor in batch.items()
    }
