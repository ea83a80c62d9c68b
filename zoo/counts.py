"""Sums that metrics are made of, over batches and over processes."""

from __future__ import annotations

import torch
from torch import Tensor


class Counts:
    """A running sum of tensors of one shape.

    Args:
        shape: of what is added.
    """

    def __init__(self, *shape: int) -> None:
        self.values = torch.zeros(shape, dtype=torch.float64)
        self.device = torch.device("cpu")

    def add(self, values: Tensor) -> None:
        """Sum up a batch's share."""
        self.values += values.to(self.values)

    def total(self) -> Tensor:
        """Over the batches of all processes, float64 on the CPU."""
        values = self.values
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            values = values.to(self.device, copy=True)
            torch.distributed.all_reduce(values)
        return values.cpu()

    def reset(self) -> None:
        """Back to zero."""
        self.values.zero_()

    def to(self, device: torch.device) -> None:
        """Where processes exchange: the device that their backend knows."""
        self.device = device
