"""Sums over a sample's tokens, from which losses and streaming metrics are made. B samples, M positions, V tokens."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.protocols import IGNORE, Batch

LARGEST = 1e4
"""Perplexities above it say no more than that nothing is learnt, and exponentials overflow."""

LOSS, COUNT, RIGHT = range(3)


def token_scores(logits: Tensor, target: Tensor) -> Tensor:
    """Per sample the summed cross entropy in nats, the number of targets and of targets guessed right: (B, 3) float32.

    Args:
        logits: (B, M, V).
        target: (B, M) ids, IGNORE where there is nothing to guess.
    """
    loss = F.cross_entropy(logits.flatten(0, 1).float(), target.flatten(), reduction="none", ignore_index=IGNORE)
    real = target != IGNORE
    right = (logits.detach().argmax(dim=-1) == target) & real
    return torch.stack([loss.view_as(target).sum(1), real.sum(1).float(), right.sum(1).float()], dim=1)


def perplexity(loss: float, count: float) -> float:
    """Exp of the mean loss, at most 10,000."""
    return math.exp(min(loss / max(count, 1.0), math.log(LARGEST)))


class Totals:
    """Metrics from columns of sums, one row a sample: what :meth:`zoo.protocols.Task.metrics` of these objectives is
    updated with.

    Args:
        width: number of columns.
    """

    def __init__(self, width: int) -> None:
        self.sums = torch.zeros(width, dtype=torch.float64)

    def update(self, logits: Tensor, batch: Batch) -> None:
        """logits: (B, width) sums."""
        self.sums += logits.to(self.sums.dtype).sum(dim=0)

    def compute(self) -> dict[str, float]:
        """Plain floats of the sums over all processes."""
        sums = self.sums.clone()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
        return self.figures(sums.tolist())

    def figures(self, sums: list[float]) -> dict[str, float]:
        raise NotImplementedError

    def reset(self) -> None:
        self.sums.zero_()

    def to(self, device: torch.device) -> Totals:
        kind = torch.float32 if device.type == "mps" else torch.float64
        self.sums = self.sums.to(device=device, dtype=kind)
        return self


class TokenMetrics(Totals):
    """``perplexity`` (capped) and the share of targets guessed right, from rows of :func:`token_scores`.

    Args:
        accuracy: what that share is called.
    """

    def __init__(self, accuracy: str = "accuracy") -> None:
        super().__init__(3)
        self.accuracy = accuracy

    def figures(self, sums: list[float]) -> dict[str, float]:
        return {
            "perplexity": perplexity(sums[LOSS], sums[COUNT]),
            self.accuracy: sums[RIGHT] / max(sums[COUNT], 1.0),
        }
