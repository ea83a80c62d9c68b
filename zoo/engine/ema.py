"""Exponential moving average of the weights (Polyak averaging): often better than the last weights, and smoother."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from zoo.engine.schedule import ema_decay


class Ema:
    """Average of everything in ``task.state_dict()`` that training moves: trainable parameters and float buffers.

    Args:
        task: the module to follow.
        decay: weight of the past in each update, reached after a warm-up (:func:`zoo.engine.schedule.ema_decay`).
    """

    def __init__(self, task: nn.Module, decay: float) -> None:
        self.decay = decay
        frozen = {name for name, parameter in task.named_parameters() if not parameter.requires_grad}
        self.live: dict[str, Tensor] = {
            name: tensor
            for name, tensor in task.state_dict().items()
            if isinstance(tensor, Tensor) and tensor.is_floating_point() and name not in frozen
        }
        self.average: dict[str, Tensor] = {name: tensor.clone() for name, tensor in self.live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the weights after the ``step``-th optimizer step."""
        weight = 1 - ema_decay(step, self.decay)
        torch._foreach_lerp_(list(self.average.values()), list(self.live.values()), weight)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The task holds the average inside, and its own weights again afterwards."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, tensor in self.live.items():
            kept = tensor.clone()
            tensor.copy_(self.average[name])
            self.average[name].copy_(kept)
