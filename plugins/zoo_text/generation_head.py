"""Finetuning a causal language model: its own next-token logits, no parameters beside it. B batch, N tokens, V tokens
of the vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.objectives import COUNT, LOSS, token_scores
from zoo.protocols import Batch, Features, Metrics
from zoo_registry.errors import PluginError
from zoo_text.objectives.scores import TokenMetrics


class GenerationHead(nn.Module):
    """``forward`` gives the next-token logits (B, N, V) of a causal backbone (Radford et al., 2019).

    Args:
        dim, labels: ignored.
    """

    task = "generation"
    uses = ("lm",)
    needs = ("CausalModel",)
    monitor = ("perplexity", "min")
    labels: tuple[str, ...] = ()

    def __init__(self, dim: int = 0, labels: tuple[str, ...] = ()) -> None:
        super().__init__()

    def forward(self, features: Features) -> Tensor:
        if features.lm is None:
            raise PluginError("The backbone gives no next-token logits.", "Report it to its plugin.")
        return features.lm

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross entropy summed over the tokens that count (``target`` (B, N) of
        :mod:`zoo_text.generation_view`), and their number."""
        scores = token_scores(logits, batch["target"])
        return scores[:, LOSS].sum(), scores[:, COUNT].sum()

    @torch.no_grad()
    def keep(self, logits: Tensor, batch: Batch) -> Tensor:
        """(B, 3) of each sample: negative log likelihood in nats, tokens that count, tokens guessed right."""
        return token_scores(logits, batch["target"])

    def decode(self, logits: Tensor, batch: Batch | None = None) -> dict[str, Tensor]:
        """``scores`` (B, 3) as :meth:`keep`: of logits (B, N, V) with their batch, or of what was kept."""
        kept = logits if batch is None or logits.dim() < 3 else self.keep(logits, batch)
        return {"scores": kept.float()}

    def metrics(self) -> Metrics:
        """``perplexity`` and the ``accuracy`` of the next token."""
        return TokenMetrics()
