"""What joint-embedding objectives are watched by: whether features collapse, and whether neighbours are of one class.

Their losses tell neither: a constant solves BYOL. N samples, D width of the backbone's features.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.console import say
from zoo.everyones import everyones
from zoo.neighbours import knn_scores
from zoo.protocols import Batch

COLLAPSED = 0.1
"""Spread of features below which they say next to nothing about the image."""


def spread(features: Tensor) -> Tensor:
    """Standard deviation over samples of features (N, D) scaled to length 1, averaged over dimensions, times the root
    of D: 1 for directions all over the sphere, 0 where every image has the same (Chen and He, "Exploring simple siamese
    representation learning", CVPR 2021, section 4.1)."""
    unit = F.normalize(features, dim=1)
    return unit.std(dim=0, correction=0).mean() * features.shape[1] ** 0.5


def neighbour_accuracy(features: Tensor, labels: Tensor, classes: int) -> float:
    """Share of samples whose class gets most votes of their nearest others (:func:`zoo.neighbours.knn_scores`).

    Args:
        features: (N, D). One sample alone has no neighbours: 0.
        labels: (N,) ids.
    """
    if len(features) < 2:
        return 0.0
    votes = knn_scores(features, labels, None, classes)
    return float((votes.argmax(dim=1) == labels).float().mean())


class Watch:
    """Metrics over the split of all processes: ``embedding_std`` (:func:`spread`), which is said aloud where it means
    collapse, and ``knn_accuracy`` (:func:`neighbour_accuracy`) where classes are known.

    Args:
        classes: their names.
        known: figures that do not come from features.
    """

    def __init__(self, classes: tuple[str, ...], known: dict[str, float] | None = None) -> None:
        self.classes, self.known = classes, known or {}
        self.parts: list[tuple[Tensor, Tensor]] = []

    def update(self, logits: Tensor, batch: Batch) -> None:
        """logits: (B, D) pooled features of the backbone."""
        self.parts.append((logits, batch["label"]))

    def compute(self) -> dict[str, float]:
        features, labels = (torch.cat(column) for column in zip(*everyones(self.parts), strict=True))
        found = {"embedding_std": float(spread(features)), **self.known}
        if self.classes:
            found["knn_accuracy"] = neighbour_accuracy(features, labels, len(self.classes))
        if found["embedding_std"] < COLLAPSED and len(features) > 1:
            say(
                f"The features collapse: their spread is {found['embedding_std']:.3f} (1 is healthy, 0 is the same for "
                "every image). Lower --lr, or choose another objective."
            )
        return found

    def reset(self) -> None:
        self.parts = []

    def to(self, device: torch.device) -> Watch:
        return self
