"""Gradients of losses that couple the samples of a batch through their vectors, exact over micro-batches and processes
(Gao et al., "Scaling deep contrastive learning batch size under memory limited setup", RepL4NLP 2021).

The vectors of all samples are made without a graph, gathered and coupled: that gives the loss, and its gradient at each
vector. They are then made again piece by piece, and each piece is sent backward with the gradient of its own. Dropout
is the same in both passes, and running statistics move once. A batch in one piece keeps its graph instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zoo.engine.pieces import pieces
from zoo.engine.run import Run, phase_parameters
from zoo.protocols import Batch, Coupled


@dataclass(frozen=True)
class Slopes:
    """What coupling gives.

    Attributes:
        loss, count: of all processes' samples on the main one, else 0: they are summed.
        vectors: gradient of ``loss / run.share`` at this process's vectors.
        own: the same at the parameters that coupling itself uses (scale and bias of the logits).
    """

    loss: Tensor
    count: Tensor
    vectors: Tensor
    own: list[tuple[nn.Parameter, Tensor]]


def splittable(task: Any) -> bool:
    """Whether a batch may be made in pieces without changing the loss."""
    return not task.batch_coupled or isinstance(task, Coupled)


def coupled_gradients(run: Run, phase: str, batch: Batch) -> tuple[Tensor, Tensor]:
    """Leave the gradient of ``loss_sum / run.share`` in the parameters; return (loss_sum, count), see :class:`Slopes`.
    Buffers must be as :meth:`zoo.engine.memory.Buffers.save` found them."""
    scaler = run.scalers[phase]
    if (run.progress.micro_batch or len(batch["index"])) >= len(batch["index"]):
        ((piece, _),) = pieces(run, phase, batch)
        vectors = _vectors(run, piece)
        slopes = _couple(run, phase, vectors)
        vectors.backward(scaler.scale(slopes.vectors))
    else:
        with torch.no_grad():
            made = torch.cat([_vectors(run, piece) for piece, _ in pieces(run, phase, batch)])
        run.buffers.restore()
        slopes = _couple(run, phase, made)
        start = 0
        for piece, last in pieces(run, phase, batch):
            with run.runtime.accumulate(run.model, last):
                vectors = _vectors(run, piece)
                vectors.backward(scaler.scale(slopes.vectors[start : start + len(vectors)]))
            start += len(vectors)
    # DDP has averaged the gradients; these never went through it, and each process has all of them.
    for parameter, slope in slopes.own:
        share = scaler.scale(slope / run.runtime.world)
        parameter.grad = share if parameter.grad is None else parameter.grad + share
    return slopes.loss, slopes.count


def _vectors(run: Run, piece: Batch) -> Tensor:
    with run.runtime.autocast(run.config.precision):
        vectors: Tensor = run.model(piece, "vectors")[3]
    return vectors.float()


def _couple(run: Run, phase: str, vectors: Tensor) -> Slopes:
    """Every process couples all vectors, in the order of processes."""
    everything, mine = run.runtime.gather_with_place(vectors.detach())
    everything.requires_grad_()
    parameters = [parameter for parameter in phase_parameters(run, phase) if parameter.requires_grad]
    loss, count, logs = run.task.couple(everything)
    at_vectors, *at_own = torch.autograd.grad(loss / run.share, [everything, *parameters], allow_unused=True)
    for name, value in logs.items():
        run.meter.add(name, value.detach().float(), torch.ones_like(value, dtype=torch.float32))
    once = float(run.runtime.is_main)
    return Slopes(
        loss.detach().float() * once,
        count.detach().float() * once,
        (torch.zeros_like(everything) if at_vectors is None else at_vectors)[mine],
        [(parameter, slope) for parameter, slope in zip(parameters, at_own, strict=True) if slope is not None],
    )
