"""Voices: recordings of one speaker get vectors that lie together. B batch, D embedding width, V width of the vectors,
C speakers."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.everyones import everyones
from zoo.protocols import Batch, Features, Metrics
from zoo.verification import equal_error, least_cost, trials
from zoo_registry.errors import DataError, UsageError

WIDTH = 192
"""V, as of the x-vectors of Desplanques et al., "ECAPA-TDNN", 2020; no more than the embedding has."""


class SpeakerHead(nn.Module):
    """Unit vectors out of pooled features, learnt by telling the training speakers apart with a margin: additive-margin
    softmax (Wang et al., "Additive Margin Softmax for Face Verification", arXiv:1801.05599). ``forward`` (B, D) -> (B,
    V). Speakers that are heard later need not be among those of training.

    Args:
        dim: D.
        labels: speakers in id order, those of the training split first.
        dropout: on the pooled features.
        scale: s, of cosines before the softmax.
        margin: m, by which the cosine with the own speaker must be higher.
        known: speakers of the training split; None: all. The others' ids mean nothing to the loss.

    Raises:
        DataError: fewer than two speakers to learn from.
        UsageError: a margin or scale that makes no sense.
    """

    task = "speaker-verification"
    uses = ("pooled",)
    monitor = ("eer", "min")

    known: Tensor

    def __init__(
        self,
        dim: int,
        labels: tuple[str, ...],
        *,
        dropout: float = 0.0,
        scale: float = 30.0,
        margin: float = 0.2,
        known: int | None = None,
    ) -> None:
        super().__init__()
        count = len(labels) if known is None else known
        if count < 2:
            raise DataError(
                f"Telling voices apart needs two speakers or more, but there are {count} to learn from.",
                "Add recordings of another speaker.",
            )
        if not (0.0 <= margin < 2.0 and scale > 0):
            raise UsageError(f"A margin of {margin} and a scale of {scale} do not go.", "Cosines reach from -1 to 1.")
        self.labels = tuple(labels)
        self.scale, self.margin = scale, margin
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(dim, min(WIDTH, dim))
        self.speakers = nn.Parameter(torch.empty(len(labels), self.project.out_features))
        nn.init.normal_(self.speakers)
        self.register_buffer("known", torch.tensor(count))

    def forward(self, features: Features) -> Tensor:
        return F.normalize(self.project(self.dropout(features.pooled)).float(), dim=-1)

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross entropy of scaled cosines, the own speaker's less the margin, summed over the samples whose speaker is
        one of training's, and their number. In evaluation the number is B, so that a split of other speakers has the
        loss 0 and not none. ``batch["label"]`` (B,) ids.

        Args:
            logits: (B, V) unit vectors.
        """
        label = batch["label"]
        # In half precision scaled cosines would be coarse.
        with torch.autocast(logits.device.type, enabled=False):
            cosine = logits.float() @ F.normalize(self.speakers.float(), dim=-1).T
            mine = label < self.known
            own = F.one_hot(torch.where(mine, label, 0), len(self.labels))
            other = torch.arange(len(self.labels), device=label.device) >= self.known
            scores = (self.scale * (cosine - self.margin * own)).masked_fill(other, -torch.inf)
            losses = F.cross_entropy(scores, torch.where(mine, label, 0), reduction="none")
        return (losses * mine).sum(), (mine if self.training else torch.ones_like(mine)).sum().float()

    def decode(self, logits: Tensor, batch: Batch | None = None) -> dict[str, Tensor]:
        """``scores`` (B, V): the unit vectors. Means of several, of the windows of a long recording, are made so."""
        return {"scores": F.normalize(logits.float(), dim=-1)}

    def metrics(self) -> Metrics:
        return SpeakerMetrics()


class SpeakerMetrics:
    """``eer`` and ``min_dcf`` over all pairs of a split (:mod:`zoo.verification`). Keeps the vectors, on the host."""

    def __init__(self) -> None:
        self.parts: list[tuple[np.ndarray, np.ndarray]] = []

    def update(self, logits: Tensor, batch: Batch) -> None:
        """logits (B, V) unit vectors; ``label`` (B,)."""
        self.parts.append((logits.float().cpu().numpy(), batch["label"].cpu().numpy()))

    def compute(self) -> dict[str, float]:
        """
        Raises:
            DataError: no two recordings are of one speaker, or all are.
        """
        vectors, speakers = (np.concatenate(column) for column in zip(*everyones(self.parts), strict=True))
        same, other = trials(vectors, speakers)
        return {"eer": equal_error(same, other)[0], "min_dcf": least_cost(same, other)}

    def reset(self) -> None:
        self.parts = []

    def to(self, device: torch.device) -> SpeakerMetrics:
        return self
