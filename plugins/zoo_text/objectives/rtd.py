"""Replaced-token detection (Clark et al., "ELECTRA", 2020): the backbone tells which tokens a small generator put in.

The generator guesses masked tokens and is trained to be right, not to deceive; what it samples is put into the text,
and the backbone decides for every token whether it is the original. Both read the same token embeddings.
B batch, N tokens, M masked places, V vocabulary.

How the two means combine: the paper adds the generator's mean over masked tokens and ``weight`` times the
discriminator's mean over all tokens. Here both means are a sample's own, and samples weigh with their number of tokens.
Since a fixed share of each sample is masked that is the paper's loss up to rounding, and as one sum with one count it
does not depend on how a batch is cut into micro-batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.objectives import COUNT, LOSS, RIGHT, PretrainingTask, Totals, check_share, read_options, token_scores
from zoo.protocols import IGNORE, Batch, Draws, Metrics, Pipeline
from zoo_registry.errors import UsageError
from zoo_text.blocks import Block, init_normal, sinusoids
from zoo_text.objectives.mlm import MlmOptions, MlmView, TiedHead, at, listed
from zoo_text.objectives.scores import perplexity
from zoo_text.objectives.task import needs_both_sides

HEAD_WIDTH = 64
FOUND_LOSS, TOKENS, FOUND_RIGHT, REPLACED, FOUND = range(3, 8)


@dataclass(frozen=True)
class RtdOptions:
    """Settings of the objective.

    Attributes:
        share: of the tokens of a sample that the generator guesses.
        weight: of the discriminator's loss.
        width: of the generator, as a share of the backbone's.
        layers: of the generator.
        dropout: of the generator.
    """

    share: float = 0.15
    weight: float = 50.0
    width: float = 0.25
    layers: int = 4
    dropout: float = 0.1

    def __post_init__(self) -> None:
        check_share("share", self.share)
        if not (self.weight > 0 and 0 < self.width <= 1 and self.layers >= 1 and 0 <= self.dropout < 1):
            raise UsageError(
                "The generator's settings are out of range.",
                "The usual ones are weight 50, width 0.25, layers 4, dropout 0.1.",
            )


def rtd_view(pipeline: Pipeline, config: Any) -> RtdView:
    """See :class:`RtdView`. Raises UsageError where the tokenizer has no mask token."""
    return RtdView(pipeline, config.seed, MlmOptions(share=read_options(RtdOptions, config).share), "rtd")


def build_rtd(backbone: Any, pipeline: Any, config: Any) -> RtdTask:
    """See :class:`RtdTask`. Raises UsageError for causal backbones."""
    needs_both_sides(backbone, "rtd")
    return RtdTask(backbone, read_options(RtdOptions, config))


class RtdView(MlmView):
    """``input_ids`` with every chosen token masked, ``original`` (B, N), ``masked`` and ``target`` (B, M) as for
    masked language modelling, and ``noise`` (B, M) in [0, 1) to sample replacements with."""

    def corrupt(self, batch: Batch, draws: Draws) -> Batch:
        ids = batch["input_ids"]
        chosen = self.choose(batch, draws)
        places, target = listed(chosen, ids, self.most(ids.shape[1]))
        return {
            **batch,
            "input_ids": torch.where(chosen, self.mask_id, ids),
            "original": ids,
            "masked": places,
            "target": target,
            "noise": draws.uniform("rtd sample", places.shape[1]),
        }


class RtdTask(PretrainingTask):
    """The backbone as discriminator, and the generator, trained at once."""

    def __init__(self, backbone: Any, options: RtdOptions) -> None:
        super().__init__(backbone)
        self.weight = options.weight
        self.generator = Generator(backbone.dim, backbone.input_embedding(), options)
        self.head = nn.Sequential(nn.Linear(backbone.dim, backbone.dim), nn.GELU(), nn.Linear(backbone.dim, 1))
        init_normal(self.head)

    def forward(self, batch: Batch, phase: str = "main") -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor | None]:
        logits = self.generator(batch, self.backbone.input_embedding())
        guessed = token_scores(logits, batch["target"])
        ids = replaced(batch, sample(logits, batch["noise"]))
        found = self.head(self.backbone({**batch, "input_ids": ids}, ("tokens",)).tokens).squeeze(-1)
        detected = detection_scores(found, ids != batch["original"], batch["attention_mask"].bool())
        sums = torch.cat([guessed, detected], dim=1).detach()
        length, masks = sums[:, TOKENS], sums[:, COUNT].clamp(min=1)
        loss = guessed[:, LOSS] * length / masks + self.weight * detected[:, 0]
        logs = {
            "generator_loss": sums[:, LOSS].sum() / masks.sum(),
            "discriminator_loss": sums[:, FOUND_LOSS].sum() / length.sum().clamp(min=1),
        }
        return loss.sum(), length.sum(), logs, sums

    def metrics(self) -> Metrics:
        """See :class:`RtdMetrics`."""
        return RtdMetrics()


class Generator(nn.Module):
    """A narrow Transformer over the backbone's token embeddings, with logits at the masked places (B, M, V)."""

    def __init__(self, dim: int, embedding: nn.Embedding, options: RtdOptions) -> None:
        super().__init__()
        heads = max(1, int(dim * options.width) // HEAD_WIDTH)
        width = max(2, int(dim * options.width) // heads) * heads
        self.entry = nn.Sequential(nn.Linear(embedding.embedding_dim, width), nn.LayerNorm(width))
        self.layers = nn.ModuleList(Block(width, heads, options.dropout) for _ in range(options.layers))
        self.norm = nn.LayerNorm(width)
        init_normal(self)
        self.head = TiedHead(width, embedding)

    def forward(self, batch: Batch, embedding: nn.Embedding) -> Tensor:
        x = self.entry(embedding(batch["input_ids"]))
        x = x + sinusoids(x)
        mask = batch["attention_mask"].bool()
        for layer in self.layers:
            x = layer(x, mask)
        return self.head(at(self.norm(x), batch["masked"]), embedding.weight)


@torch.no_grad()
def sample(logits: Tensor, noise: Tensor) -> Tensor:
    """A token from each distribution by the inverse of its cumulative sum: (B, M, V) and (B, M) -> (B, M) int64.

    The generator has no gradient through it, as in the paper.
    """
    cumulative = logits.float().softmax(dim=-1).cumsum(dim=-1)
    reached = noise[..., None] * cumulative[..., -1:]
    return torch.searchsorted(cumulative, reached, right=True).squeeze(-1).clamp(max=logits.shape[-1] - 1)


def replaced(batch: Batch, tokens: Tensor) -> Tensor:
    """(B, N) the original ids with tokens (B, M) at the masked places that have a target."""
    original, places = batch["original"], batch["masked"]
    return original.scatter(1, places, torch.where(batch["target"] == IGNORE, original.gather(1, places), tokens))


def detection_scores(logits: Tensor, replaced: Tensor, real: Tensor) -> Tensor:
    """Per sample, over its real tokens: summed binary cross entropy, tokens, tokens judged rightly, replaced tokens,
    replaced tokens found: (B, 5) float32, from (B, N) each. A token the generator guessed right counts as original."""
    loss = F.binary_cross_entropy_with_logits(logits.float(), replaced.float(), reduction="none") * real
    said = logits.detach() > 0
    parts = [loss, real, (said == replaced) & real, replaced & real, said & replaced & real]
    return torch.stack([part.float().sum(dim=1) for part in parts], dim=1)


class RtdMetrics(Totals):
    """``perplexity`` (capped) and ``masked_accuracy`` of the generator; of the discriminator ``accuracy`` over all
    tokens and ``found``, the share of the replaced tokens that it found."""

    def __init__(self) -> None:
        super().__init__(8)

    def figures(self, sums: list[float]) -> dict[str, float]:
        return {
            "perplexity": perplexity(sums[LOSS], sums[COUNT]),
            "masked_accuracy": sums[RIGHT] / max(sums[COUNT], 1.0),
            "accuracy": sums[FOUND_RIGHT] / max(sums[TOKENS], 1.0),
            "found": sums[FOUND] / max(sums[REPLACED], 1.0),
        }
