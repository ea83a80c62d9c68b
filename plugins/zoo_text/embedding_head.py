"""Embeddings: texts that belong together get vectors that lie together. B batch, K texts a sample, D width."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.everyones import everyones
from zoo.kinds.embedding import figures
from zoo.protocols import Batch, Features, Metrics
from zoo_registry.errors import DataError, UsageError

SCALE = 20.0
"""Of cosines before the softmax: a temperature of 0.05."""


class EmbeddingHead(nn.Module):
    """Unit vectors out of pooled features; no parameters. ``forward`` (B, K, D) or (B, D) -> the same shape.

    Pairs, with or without hard negatives behind them, learn by in-batch negatives: each anchor finds its positive among
    all positives and negatives of the batch, each positive its anchor among all anchors (Henderson et al., "Efficient
    Natural Language Response Suggestion for Smart Reply", 2017; van den Oord et al., "Representation Learning with
    Contrastive Predictive Coding", 2018). Where several processes train, each finds among its own. Pairs with a score
    learn to have its cosine (Reimers and Gurevych, "Sentence-BERT", 2019).

    Args:
        dim: D.
        labels: ignored; there are none.
        scale: of cosines before the softmax.
        lo, hi: least and greatest score of the training data, which become the cosines 0 and 1. None: no scores.

    Raises:
        UsageError: the scores are all equal.
    """

    task = "embedding"
    uses = ("pooled",)
    batch_coupled = True
    labels: tuple[str, ...] = ()

    def __init__(
        self,
        dim: int,
        labels: tuple[str, ...] = (),
        *,
        scale: float = SCALE,
        lo: float | None = None,
        hi: float | None = None,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.range = None if lo is None or hi is None else (lo, hi)
        if self.range is not None and not self.range[0] < self.range[1]:
            raise UsageError(f"All scores are {lo}, so there is nothing to learn.", "Give scores that differ.")
        self.monitor = ("spearman", "max") if self.range else ("recall_at_1", "max")
        self.batch_coupled = self.range is None

    def forward(self, features: Features) -> Tensor:
        return F.normalize(features.pooled.float(), dim=-1)

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The mean of both directions' cross entropies (or the squared error of the cosine), summed over the batch,
        and B. A text that is the same as the anchor or as its positive, and the positive of an equal anchor, are no
        negatives.

        Args:
            logits: (B, K, D) unit vectors.
            batch: ``text_key`` (B, K) (:mod:`zoo_text.groups_view`); ``label`` (B,) float scores, or integers.

        Raises:
            DataError: single texts.
            UsageError: scores, but no range of them.
        """
        if logits.dim() != 3 or logits.shape[1] < 2:
            raise DataError("Embeddings learn from pairs of texts, not from single ones.", "Give two texts a row.")
        count = torch.tensor(float(len(logits)), device=logits.device)
        # In half precision scaled cosines would be coarse.
        with torch.autocast(logits.device.type, enabled=False):
            vectors = logits.float()
            if batch["label"].is_floating_point():
                return self._score_loss(vectors, batch["label"].float()), count
            return contrastive_loss(vectors, batch["text_key"], self.scale), count

    def _score_loss(self, vectors: Tensor, score: Tensor) -> Tensor:
        if self.range is None:
            raise UsageError("The head knows no range of the scores.", "Give lo and hi.")
        lo, hi = self.range
        cosine = (vectors[:, 0] * vectors[:, 1]).sum(dim=-1)
        return (cosine - (score - lo) / (hi - lo)).square().sum()

    def decode(self, logits: Tensor, batch: Batch | None = None) -> dict[str, Tensor]:
        """``scores``: the unit vectors, in the shape they have."""
        return {"scores": logits.float()}

    def metrics(self) -> Metrics:
        return EmbeddingMetrics()


def contrastive_loss(vectors: Tensor, keys: Tensor, scale: float) -> Tensor:
    """Sum over B of the mean of two cross entropies: anchor to positive, and back.

    Args:
        vectors: (B, K, D) unit vectors: anchor, positive, hard negatives.
        keys: (B, K), equal where texts are.
    """
    anchor, positive = vectors[:, 0], vectors[:, 1]
    own = torch.arange(len(vectors), device=vectors.device)
    a, p = keys[:, 0, None], keys[:, 1, None]
    same = (p == p.T) | (a == a.T) | (a == p.T)
    same.fill_diagonal_(False)
    pairs = (scale * anchor @ positive.T).masked_fill(same, float("-inf"))
    hard_keys = keys[:, 2:].flatten()
    hard = scale * anchor @ vectors[:, 2:].flatten(0, 1).T
    hard = hard.masked_fill((hard_keys == a) | (hard_keys == p), float("-inf"))
    there = F.cross_entropy(torch.cat([pairs, hard], dim=1), own, reduction="sum")
    back = F.cross_entropy(pairs.T, own, reduction="sum")
    return (there + back) / 2


class EmbeddingMetrics:
    """Recall at 1, 5 and 10 and mean reciprocal rank of each positive among all of the split, or the correlations of
    cosines and scores; see :func:`zoo.kinds.embedding.figures`. Keeps the vectors, on the host."""

    def __init__(self) -> None:
        self.parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def update(self, logits: Tensor, batch: Batch) -> None:
        """logits (B, K, D) unit vectors; ``text_key`` (B, K), ``label`` (B,)."""
        self.parts.append(tuple(part.cpu().numpy() for part in (logits.float(), batch["text_key"], batch["label"])))  # type: ignore[arg-type]

    def compute(self) -> dict[str, float]:
        vectors, keys, labels = (np.concatenate(column) for column in zip(*everyones(self.parts), strict=True))
        return {name: value for name, value in figures(vectors, keys, labels).items() if value is not None}

    def reset(self) -> None:
        self.parts = []

    def to(self, device: torch.device) -> EmbeddingMetrics:
        return self
