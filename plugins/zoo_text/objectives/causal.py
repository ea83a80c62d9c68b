"""Causal language modelling: each token is guessed from those before it (Radford et al., 2019).

Samples are blocks out of one stream of texts, with the end-of-text token between them: it is guessed too, and what
follows it is guessed from it, which teaches the model how texts end and begin. Attention may reach over it, as in the
paper. B batch, N tokens, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from zoo.objectives import COUNT, LOSS, PretrainingTask, View, token_scores
from zoo.protocols import IGNORE, Batch, Draws, Metrics, Pipeline
from zoo_registry.errors import PluginError, UsageError
from zoo_text.objectives.scores import TokenMetrics


def causal_view(pipeline: Pipeline, config: Any) -> CausalView:
    """See :class:`CausalView`."""
    return CausalView(pipeline, config.seed)


def build_causal(backbone: Any, pipeline: Any, config: Any) -> CausalTask:
    """See :class:`CausalTask`.

    Raises:
        UsageError: the backbone is not causal.
    """
    if not getattr(backbone, "causal", False):
        raise UsageError(
            f"The objective causal needs a causal model, and tokens of {backbone.spec.name} see both sides.",
            "Choose a model such as gpt2, or --objective mlm.",
        )
    if train := getattr(backbone, "train_output_layer", None):
        train()
    return CausalTask(backbone)


class CausalView(View):
    """Adds ``target`` (B, N): the token after each, IGNORE at the last one and at padding."""

    def corrupt(self, batch: Batch, draws: Draws) -> Batch:
        real = batch["attention_mask"].bool()
        after = torch.where(real[:, 1:] & real[:, :-1], batch["input_ids"][:, 1:], IGNORE)
        return {**batch, "target": torch.nn.functional.pad(after, (0, 1), value=IGNORE)}


class CausalTask(PretrainingTask):
    """A causal backbone and its own output layer; loss per guessed token."""

    def forward(self, batch: Batch, phase: str = "main") -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor | None]:
        logits = self.backbone(batch, ("lm",)).lm
        if logits is None:
            raise PluginError(f"{self.backbone.spec.name} gives no next-token logits.", "Report it to its plugin.")
        scores = token_scores(logits, batch["target"])
        sums = scores.detach()
        return scores[:, LOSS].sum(), sums[:, COUNT].sum(), {}, sums

    def metrics(self) -> Metrics:
        """``perplexity`` and ``accuracy`` of the next token."""
        return TokenMetrics()
