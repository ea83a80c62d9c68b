"""Where in a text the answer stands. B batch, N tokens, D embedding width."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.counts import Counts
from zoo.kinds.spans import LONGEST
from zoo.protocols import Batch, Features, Metrics
from zoo_text.token_head import INIT_STD, tokens_of


class SpanHead(nn.Module):
    """First and last token of the answer (Devlin et al., "BERT", 2019): a linear layer on every token. ``forward``
    (B, N, D) -> logits (B, N, 2). Position 0 stands for "not here".

    Args:
        dim: D.
        labels: ignored; answers have none.
        dropout: on the tokens.
    """

    task = "question-answering"
    uses = ("tokens",)
    monitor = ("span_f1", "max")
    labels: tuple[str, ...] = ()

    def __init__(self, dim: int, labels: tuple[str, ...] = (), *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(dim, 2)
        nn.init.trunc_normal_(self.linear.weight, std=INIT_STD)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Features) -> Tensor:
        return self.linear(self.dropout(tokens_of(features)))

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Mean of the cross entropies of first and last token over the context's tokens and position 0, summed over the
        batch, and B. ``batch["label"]`` (B, 2) positions; ``batch["word"]`` (B, N) -1 outside the context."""
        allowed = answerable(batch["word"])
        masked = logits.float().masked_fill(~allowed[..., None], -torch.inf)
        # (B, 2, N) against (B, 2): two classifications over N positions.
        total = F.cross_entropy(masked.transpose(1, 2).flatten(0, 1), batch["label"].flatten(), reduction="sum")
        return total / 2, torch.tensor(float(len(logits)), device=logits.device)

    def decode(self, logits: Tensor, batch: Batch | None = None) -> dict[str, Tensor]:
        """``scores`` (B, N, 2): the logits themselves, which windows of one context are compared by."""
        return {"scores": logits.float()}

    def metrics(self) -> Metrics:
        return SpanMetrics()


class SpanMetrics:
    """Streaming share of windows whose answer is exact (``span_exact``), and the F1 of its tokens (``span_f1``)."""

    def __init__(self) -> None:
        self.sums = Counts(3)

    def update(self, logits: Tensor, batch: Batch) -> None:
        """logits (B, N, 2); ``batch`` as in the loss."""
        given, wanted = best_spans(logits.float(), batch["word"]), batch["label"]
        exact = (given == wanted).all(dim=1)
        shared = torch.minimum(given[:, 1], wanted[:, 1]) - torch.maximum(given[:, 0], wanted[:, 0]) + 1
        lengths = (given[:, 1] - given[:, 0] + 1) + (wanted[:, 1] - wanted[:, 0] + 1)
        # Position 0 is in no answer, so "not here" shares a token with "not here" alone.
        f1 = 2 * shared.clamp(min=0) / lengths
        self.sums.add(torch.stack([exact.float().sum(), f1.sum(), torch.tensor(float(len(f1)), device=f1.device)]))

    def compute(self) -> dict[str, float]:
        exact, f1, n = self.sums.total().tolist()
        return {"span_f1": f1 / max(n, 1), "span_exact": exact / max(n, 1)}

    def reset(self) -> None:
        self.sums.reset()

    def to(self, device: torch.device) -> SpanMetrics:
        self.sums.to(device)
        return self


def answerable(word: Tensor) -> Tensor:
    """(B, N) bool: the context's tokens and position 0."""
    allowed = word >= 0
    allowed[:, 0] = True
    return allowed


def best_spans(logits: Tensor, word: Tensor) -> Tensor:
    """(B, 2) first and last token of the span in the context with the highest sum of logits, at most LONGEST tokens;
    (0, 0) where that position has a higher sum."""
    batch, longest = word.shape
    inside = logits.masked_fill((word < 0)[..., None], -torch.inf)
    scores = torch.full((batch, longest, min(LONGEST, longest)), -torch.inf, device=logits.device)
    for more in range(scores.shape[2]):
        scores[:, : longest - more, more] = inside[:, : longest - more, 0] + inside[:, more:, 1]
    best, place = scores.flatten(1).max(dim=1)
    first = place // scores.shape[2]
    spans = torch.stack([first, first + place % scores.shape[2]], dim=1)
    return torch.where((best > logits[:, 0].sum(dim=1))[:, None], spans, 0)
