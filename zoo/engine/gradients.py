"""Gradients of one phase of one step, in as many micro-batches as memory asks for."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.console import say
from zoo.engine.coupled import coupled_gradients, splittable
from zoo.engine.memory import free, is_out_of_memory
from zoo.engine.pieces import pieces
from zoo.engine.run import Run, fit_momenta
from zoo.protocols import Batch, Coupled
from zoo_registry.errors import UsageError, ZooError


def gradients(run: Run, phase: str, batch: Batch) -> tuple[Tensor, Tensor]:
    """Leave the gradient of ``loss_sum / run.share`` over the batch in the parameters; return (loss_sum, count).

    Where memory runs out the micro-batch is halved, for good, and everything is done again: random numbers depend on
    the place in the run alone, and the buffers are put back.

    Raises:
        ZooError: memory ran out and nothing is left to halve, or may be.
        UsageError: parameters are sharded and the batch is not shared equally.
    """
    if run.runtime.sharded and not run.meter.steps:
        _check_shares(run, len(batch["index"]))
    run.buffers.save()
    task = run.task
    take = coupled_gradients if task.batch_coupled and isinstance(task, Coupled) else _accumulate
    while True:
        run.optimizers[phase].zero_grad(set_to_none=True)
        try:
            with run.utilisation.counting(phase, len(batch["index"])):
                return take(run, phase, batch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        # Outside the handler: until it is left, the traceback keeps the activations alive.
        run.optimizers[phase].zero_grad(set_to_none=True)
        run.buffers.restore()
        _halve(run, len(batch["index"]))


def _accumulate(run: Run, phase: str, batch: Batch) -> tuple[Tensor, Tensor]:
    loss_sum = count = torch.zeros((), device=run.runtime.device)
    logged: dict[str, list[Tensor]] = {}
    for piece, last in pieces(run, phase, batch):
        with run.runtime.accumulate(run.model, last):
            with run.runtime.autocast(run.config.precision):
                loss, targets, logs, _ = run.model(piece, phase)
            run.scalers[phase].scale(loss.float() / run.share).backward()
        loss_sum = loss_sum + loss.detach().float()
        count = count + targets.detach().float()
        for name, value in logs.items():
            logged.setdefault(name, []).append(value.detach().float())
    for name, values in logged.items():
        run.meter.add(name, torch.stack(values).sum(), torch.full_like(values[0], len(values)))
    return loss_sum, count


def _check_shares(run: Run, rows: int) -> None:
    """Sharded parameters are gathered by all processes in each forward pass: one pass more on one of them would wait
    for ever."""
    if run.runtime.maximum(rows) != -run.runtime.maximum(-rows):
        raise UsageError(
            f"The batch cannot be shared equally by {run.runtime.world} processes.",
            "With FSDP choose a --batch-size that is a multiple of the number of processes.",
        )


def _halve(run: Run, rows: int) -> None:
    size = min(run.progress.micro_batch or rows, rows)
    if run.runtime.world > 1 or not splittable(run.task) or size == 1:
        if not splittable(run.task):
            remedy = "The loss couples the samples of a batch, so choose a smaller --batch-size."
        elif size > 1:
            remedy = f"Choose --micro-batch {size // 2}: several processes cannot find it by trying."
        else:
            remedy = "Use a smaller model, a smaller input size or --precision bf16."
        raise ZooError(f"Memory ran out in a training step with {size} samples at a time.", remedy)
    run.progress.micro_batch = size // 2
    free(run.runtime.device)
    fit_momenta(run)
    say(f"memory ran out with {size} samples at a time: going on with {size // 2}, the batch stays as it was")
