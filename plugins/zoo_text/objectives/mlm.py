"""Masked language modelling (Devlin et al., "BERT", 2019), masked anew in each epoch (Liu et al., "RoBERTa", 2019).

Of each sample a share of the tokens is to be guessed: 80 % of them are replaced by the mask token, 10 % by another
token, 10 % are left. B batch, N tokens, M places to guess, E width of the token embeddings, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.objectives import COUNT, LOSS, PretrainingTask, View, check_share, read_options, token_scores
from zoo.protocols import IGNORE, Batch, Draws, Metrics, Pipeline
from zoo_text.blocks import init_normal
from zoo_text.objectives.scores import TokenMetrics
from zoo_text.objectives.task import needs_both_sides
from zoo_text.objectives.view import Vocabulary

MASKED, REPLACED = 0.8, 0.1
LONGEST_WORD = 32


@dataclass(frozen=True)
class MlmOptions:
    """Settings of the objective.

    Attributes:
        share: of the tokens of a sample that are to be guessed, rounded to one token at least.
        whole_word: guess all pieces of a word or none; the share may then be passed by a part of a word.
    """

    share: float = 0.15
    whole_word: bool = False

    def __post_init__(self) -> None:
        check_share("share", self.share)


def mlm_view(pipeline: Pipeline, config: Any) -> MlmView:
    """See :class:`MlmView`. Raises UsageError where the tokenizer has no mask token."""
    return MlmView(pipeline, config.seed, read_options(MlmOptions, config))


def build_mlm(backbone: Any, pipeline: Any, config: Any) -> MlmTask:
    """See :class:`MlmTask`. Raises UsageError for causal backbones."""
    needs_both_sides(backbone, "mlm")
    return MlmTask(backbone)


class MlmView(View):
    """Adds ``masked`` (B, M), places in order, and ``target`` (B, M), the tokens that stood there or IGNORE."""

    def __init__(self, pipeline: Pipeline, seed: int, options: MlmOptions, objective: str = "mlm") -> None:
        super().__init__(pipeline, seed)
        self.options = options
        self.vocabulary = Vocabulary(pipeline)
        self.mask_id = self.vocabulary.need_mask(objective)

    def corrupt(self, batch: Batch, draws: Draws) -> Batch:
        ids = batch["input_ids"]
        chosen = self.choose(batch, draws)
        places, target = listed(chosen, ids, self.most(ids.shape[1]))
        kind = draws.uniform("mlm kind", ids.shape[1])
        other = self.vocabulary.pick(draws.uniform("mlm token", ids.shape[1]))
        changed = torch.where(kind < MASKED, self.mask_id, torch.where(kind < MASKED + REPLACED, other, ids))
        return {**batch, "input_ids": torch.where(chosen, changed, ids), "masked": places, "target": target}

    def choose(self, batch: Batch, draws: Draws) -> Tensor:
        """(B, N) bool, True at the tokens to guess: none that is special or padding."""
        ids = batch["input_ids"]
        eligible = batch["attention_mask"].bool() & ~self.vocabulary.is_special(ids)
        groups = (
            words(batch) if self.options.whole_word else torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        )
        chosen = choose_groups(groups, eligible, draws.uniform("mlm choice", ids.shape[1]), self.options.share)
        # Only words of more pieces than that are cut; without a bound the number of places could not be known ahead.
        return chosen & (chosen.cumsum(dim=1) <= self.most(ids.shape[1])) if self.options.whole_word else chosen

    def most(self, length: int) -> int:
        """M: how many tokens of ``length`` can be chosen, so that a batch's shape waits for no device."""
        budget = max(1, int(length * self.options.share + 0.5) + 1)
        return min(length, budget + (LONGEST_WORD if self.options.whole_word else 0))


def words(batch: Batch) -> Tensor:
    """(B, N) number of the word that each piece belongs to: those whose ``word`` is -1 go with the last one."""
    return ((batch["word"] >= 0).cumsum(dim=1) - 1).clamp(min=0)


def choose_groups(groups: Tensor, eligible: Tensor, uniform: Tensor, share: float) -> Tensor:
    """Take groups of tokens at random until ``share`` of a sample's eligible tokens, one at least, is reached.

    Args:
        groups: (B, N) number of each token's group, from 0 and below N.
        eligible: (B, N) bool; other tokens are never taken.
        uniform: (B, N) in [0, 1), a number for each group; the groups with the lowest are taken.

    Returns:
        (B, N) bool.
    """
    sizes = torch.zeros_like(groups).scatter_add(1, groups, eligible.long())
    order = torch.where(sizes > 0, uniform, 2.0).argsort(dim=1, stable=True)
    ordered = sizes.gather(1, order)
    before = ordered.cumsum(dim=1) - ordered
    budget = (eligible.sum(dim=1, keepdim=True) * share + 0.5).floor().clamp(min=1)
    taken = torch.zeros_like(eligible).scatter(1, order, before < budget)
    return taken.gather(1, groups) & eligible


def listed(chosen: Tensor, ids: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The places of the True (B, N) as ``(places (B, M), target (B, M))``; target is IGNORE where a row has fewer."""
    places = (~chosen).to(torch.uint8).argsort(dim=1, stable=True)[:, :most]
    return places, torch.where(chosen.gather(1, places), ids.gather(1, places), IGNORE)


class MlmTask(PretrainingTask):
    """The backbone with a head that guesses the masked tokens, computed at these alone; loss per guessed token."""

    def __init__(self, backbone: Any) -> None:
        super().__init__(backbone)
        self.head = TiedHead(backbone.dim, backbone.input_embedding())

    def forward(self, batch: Batch, phase: str = "main") -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor | None]:
        tokens = self.backbone(batch, ("tokens",)).tokens
        logits = self.head(at(tokens, batch["masked"]), self.backbone.input_embedding().weight)
        scores = token_scores(logits, batch["target"])
        sums = scores.detach()
        return scores[:, LOSS].sum(), sums[:, COUNT].sum(), {}, sums

    def metrics(self) -> Metrics:
        """``perplexity`` and ``masked_accuracy``."""
        return TokenMetrics("masked_accuracy")


class TiedHead(nn.Module):
    """Dense, GELU, LayerNorm, then the input embedding turned round (Press and Wolf, 2017), and a bias.

    Args:
        dim: of the tokens that come in.
        embedding: (V, E); given again at each call rather than kept, so that it is saved with the backbone alone.
    """

    def __init__(self, dim: int, embedding: nn.Embedding) -> None:
        super().__init__()
        width = embedding.embedding_dim
        self.transform = nn.Sequential(nn.Linear(dim, width), nn.GELU(), nn.LayerNorm(width))
        self.bias = nn.Parameter(torch.zeros(embedding.num_embeddings))
        init_normal(self)

    def forward(self, tokens: Tensor, weight: Tensor) -> Tensor:
        """(..., dim) and the (V, E) table -> logits (..., V)."""
        return F.linear(self.transform(tokens), weight, self.bias)


def at(tokens: Tensor, places: Tensor) -> Tensor:
    """tokens (B, N, D) at places (B, M): (B, M, D)."""
    return tokens.gather(1, places[..., None].expand(-1, -1, tokens.shape[2]))
