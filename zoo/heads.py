"""Linear heads on pooled features. Losses are sums with counts; B batch, D embedding width, C classes."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.metrics import ClassificationMetrics, MultiLabelMetrics, RegressionMetrics
from zoo.protocols import Batch, Features, Metrics
from zoo_registry.errors import DataError, UsageError

INIT_STD = 0.01
THRESHOLD = 0.5


def _linear(dim: int, width: int) -> nn.Linear:
    """Near zero, so that the first gradients into a pretrained backbone are near zero too."""
    layer = nn.Linear(dim, width)
    nn.init.trunc_normal_(layer.weight, std=INIT_STD)
    nn.init.zeros_(layer.bias)
    return layer


class ClassificationHead(nn.Module):
    """One label of C. ``forward`` (B, D) -> logits (B, C).

    Args:
        dim: D.
        labels: class names in id order, two or more.
        dropout: on the pooled features.
        label_smoothing: share of the target spread evenly over all classes, while training only (Szegedy et al.,
            "Rethinking the Inception Architecture", 2016).

    Raises:
        DataError: fewer than two classes.
    """

    task = "classification"
    uses = ("pooled",)
    monitor = ("accuracy", "max")

    def __init__(
        self, dim: int, labels: tuple[str, ...], *, dropout: float = 0.0, label_smoothing: float = 0.0
    ) -> None:
        super().__init__()
        if len(labels) < 2:
            raise DataError(
                f"Classification needs two classes or more, but the data has {len(labels)}.", "Add another class."
            )
        if not 0.0 <= label_smoothing < 1.0:
            raise UsageError(f"label_smoothing is {label_smoothing}.", "Give a value from 0 up to, not including, 1.")
        self.labels = tuple(labels)
        self.label_smoothing = label_smoothing
        self.dropout = nn.Dropout(dropout)
        self.linear = _linear(dim, len(labels))

    def forward(self, features: Features) -> Tensor:
        return self.linear(self.dropout(features.pooled))

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross entropy, summed over the batch, and B. ``batch["label"]``: (B,) ids or (B, C) probabilities."""
        target = batch["label"]
        if target.is_floating_point():
            target = target.float()
        smoothing = self.label_smoothing if self.training else 0.0
        total = F.cross_entropy(logits.float(), target, reduction="sum", label_smoothing=smoothing)
        return total, _count(logits)

    def decode(self, logits: Tensor, batch: Batch | None = None) -> dict[str, Tensor]:
        """``scores`` (B, C) probabilities, ``label`` (B,) ids."""
        return {"scores": logits.float().softmax(dim=-1), "label": logits.argmax(dim=-1)}

    def metrics(self) -> Metrics:
        return ClassificationMetrics(len(self.labels))


class MultiLabelHead(nn.Module):
    """Any number of C labels. ``forward`` (B, D) -> logits (B, C).

    Args:
        dim: D.
        labels: class names in id order.
        dropout: on the pooled features.

    Raises:
        DataError: no classes.
    """

    task = "multi-label"
    uses = ("pooled",)
    monitor = ("map", "max")

    def __init__(self, dim: int, labels: tuple[str, ...], *, dropout: float = 0.0) -> None:
        super().__init__()
        if not labels:
            raise DataError("Multi-label data needs at least one class, but has none.", "Add labels.")
        self.labels = tuple(labels)
        self.dropout = nn.Dropout(dropout)
        self.linear = _linear(dim, len(labels))

    def forward(self, features: Features) -> Tensor:
        return self.linear(self.dropout(features.pooled))

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Binary cross entropy summed over classes and batch, and B. ``batch["label"]``: (B, C) in 0..1."""
        target = batch["label"].float()
        return F.binary_cross_entropy_with_logits(logits.float(), target, reduction="sum"), _count(logits)

    def decode(self, logits: Tensor, batch: Batch | None = None) -> dict[str, Tensor]:
        """``scores`` (B, C) probabilities, ``label`` (B, C) bool: probability of one half or more."""
        scores = logits.float().sigmoid()
        return {"scores": scores, "label": scores >= THRESHOLD}

    def metrics(self) -> Metrics:
        return MultiLabelMetrics(len(self.labels))


class RegressionHead(nn.Module):
    """One number. ``forward`` (B, D) -> (B,) in the user's units; the linear layer works in units of the targets'
    standard deviation around their mean, so learning rates mean the same for prices and for probabilities.

    Args:
        dim: D.
        labels: ignored; regression has none.
        dropout: on the pooled features.
        mean, std: of the training targets. Saved with the head.

    Raises:
        UsageError: ``std`` is not positive and finite, or ``mean`` not finite.
    """

    task = "regression"
    uses = ("pooled",)
    monitor = ("rmse", "min")
    labels: tuple[str, ...] = ()

    mean: Tensor
    std: Tensor

    def __init__(
        self, dim: int, labels: tuple[str, ...] = (), *, dropout: float = 0.0, mean: float = 0.0, std: float = 1.0
    ) -> None:
        super().__init__()
        if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
            raise UsageError(
                f"Targets with mean {mean} and standard deviation {std} cannot be learnt.",
                "Give numbers that are finite and not all equal.",
            )
        self.dropout = nn.Dropout(dropout)
        self.linear = _linear(dim, 1)
        self.register_buffer("mean", torch.tensor(float(mean)))
        self.register_buffer("std", torch.tensor(float(std)))

    def forward(self, features: Features) -> Tensor:
        standard = self.linear(self.dropout(features.pooled)).squeeze(-1)
        # Half precision has three digits: enough for standard units, not for the user's.
        return standard.float() * self.std + self.mean

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Squared error in standard units, summed over the batch, and B. ``batch["label"]``: (B,)."""
        error = (logits.float() - batch["label"].float()) / self.std
        return error.square().sum(), _count(logits)

    def decode(self, logits: Tensor, batch: Batch | None = None) -> dict[str, Tensor]:
        """``value`` (B,) in the user's units."""
        return {"value": logits.float()}

    def metrics(self) -> Metrics:
        return RegressionMetrics()


def _count(logits: Tensor) -> Tensor:
    return torch.tensor(float(logits.shape[0]), device=logits.device)
