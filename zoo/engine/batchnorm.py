"""Running statistics of batch normalisation that fit the length of the run.

With the momentum a layer was built with, a short run ends on stale statistics: timm's ``tf_`` models carry 0.01, so
after 30 steps 74 % of what evaluation uses still describes the initial weights.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

REMEMBERED = 0.05  # what may remain of the old statistics after one epoch


def layers(task: nn.Module) -> Iterator[_BatchNorm]:
    """The batch-normalisation layers that keep running statistics."""
    return (module for module in task.modules() if isinstance(module, _BatchNorm) and module.running_mean is not None)


def momentum_for(own: float | None, steps: int, steps_per_epoch: int, updates_per_step: int = 1) -> float:
    """Momentum that leaves 5 % of the old statistics after one epoch, or after half of a run shorter than two.

    ``m = 1 - 0.05 ** (1 / n)`` with ``n`` = updates in that span, never below the layer's own momentum: a model that
    already forgets faster keeps its habit. Over the whole run at most 0.25 % of the initial statistics remain.
    """
    span = max(1, min(steps_per_epoch, steps // 2)) * updates_per_step
    fitted = 1 - REMEMBERED ** (1 / span)
    if own is None:
        return fitted
    return max(fitted, 1 - (1 - own) ** (1 / updates_per_step))


def own_momenta(task: nn.Module) -> list[tuple[_BatchNorm, float | None]]:
    """What to give back with :func:`restore_momenta`."""
    return [(layer, layer.momentum) for layer in layers(task)]


def fit_momenta(
    own: list[tuple[_BatchNorm, float | None]], steps: int, steps_per_epoch: int, updates_per_step: int
) -> None:
    for layer, momentum in own:
        layer.momentum = momentum_for(momentum, steps, steps_per_epoch, updates_per_step)


def restore_momenta(own: list[tuple[_BatchNorm, float | None]]) -> None:
    for layer, momentum in own:
        layer.momentum = momentum


def training_mode(task: nn.Module, batchnorm: str) -> None:
    """Training mode as the task defines it (its frozen parts stay in evaluation mode), batch normalisation as asked."""
    task.train()
    if batchnorm == "frozen":
        for layer in layers(task):
            layer.eval()


def moving_statistics(task: nn.Module) -> list[torch.Tensor]:
    """The running statistics that a training step has just moved, for averaging over processes."""
    return [
        buffer
        for layer in layers(task)
        if layer.training
        for buffer in (layer.running_mean, layer.running_var)
        if buffer is not None
    ]
