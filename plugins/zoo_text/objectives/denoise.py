"""A denoising autoencoder for texts (Vincent et al., 2008; Lewis et al., "BART", 2020).

Spans of tokens become one mask token each (text infilling) and single tokens are deleted; the backbone encodes what is
left, and a small Transformer decoder that attends to it writes the original. B batch, N tokens, D width, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.objectives import COUNT, LOSS, PretrainingTask, View, check_share, read_options, token_scores
from zoo.protocols import IGNORE, Batch, Draws, Metrics, Pipeline
from zoo_registry.errors import UsageError
from zoo_text.blocks import INIT_STD, Block, init_normal, sinusoids
from zoo_text.objectives.mlm import TiedHead
from zoo_text.objectives.scores import TokenMetrics
from zoo_text.objectives.view import Resident, Vocabulary

HEAD_WIDTH = 64
LONGEST_SPAN = 64


@dataclass(frozen=True)
class DenoiseOptions:
    """Settings of the objective.

    Attributes:
        share: of the tokens that spans cover, on average.
        span: mean length of a span in tokens; lengths are one more than Poisson numbers.
        delete: probability of any other token to be deleted.
        layers: of the decoder.
        dropout: of the decoder.
    """

    share: float = 0.3
    span: float = 3.0
    delete: float = 0.1
    layers: int = 2
    dropout: float = 0.1

    def __post_init__(self) -> None:
        check_share("share", self.share)
        if not (1.0 <= self.span <= LONGEST_SPAN / 2 and 0 <= self.delete < 1):
            raise UsageError(
                f"Spans of {self.span} tokens and deletion of {self.delete} do not go.",
                f"Give a span from 1 to {LONGEST_SPAN // 2} and a delete from 0 up to, not including, 1.",
            )
        if self.layers < 1 or not 0 <= self.dropout < 1:
            raise UsageError("The decoder's settings are out of range.", "Give one layer or more, a dropout below 1.")


def denoise_view(pipeline: Pipeline, config: Any) -> DenoiseView:
    """See :class:`DenoiseView`. Raises UsageError where the tokenizer has no mask token."""
    return DenoiseView(pipeline, config.seed, read_options(DenoiseOptions, config))


def build_denoise(backbone: Any, pipeline: Any, config: Any) -> DenoiseTask:
    """See :class:`DenoiseTask`."""
    return DenoiseTask(backbone, read_options(DenoiseOptions, config))


class DenoiseView(View):
    """The corrupted text as the backbone's inputs, shorter but padded to N, and ``target`` (B, N): the original's
    ids, special tokens included, IGNORE at padding."""

    def __init__(self, pipeline: Pipeline, seed: int, options: DenoiseOptions) -> None:
        super().__init__(pipeline, seed)
        self.options = options
        self.vocabulary = Vocabulary(pipeline)
        self.mask_id = self.vocabulary.need_mask("denoise")
        self.filler = pipeline.special.filler  # type: ignore[attr-defined]
        self.lengths = Resident(span_lengths(options.span))

    def corrupt(self, batch: Batch, draws: Draws) -> Batch:
        ids, real = batch["input_ids"], batch["attention_mask"].bool()
        length = ids.shape[1]
        eligible = real & ~self.vocabulary.is_special(ids)
        places = torch.arange(length, device=ids.device)[None]
        starts = eligible & (draws.uniform("denoise start", length) < start_probability(self.options))
        reach = 1 + torch.searchsorted(self.lengths.on(ids.device), draws.uniform("denoise length", length), right=True)
        covered = eligible & (torch.where(starts, places + reach, 0).cummax(dim=1).values > places)
        first = covered & ~F.pad(covered[:, :-1], (1, 0))
        deleted = eligible & ~covered & (draws.uniform("denoise delete", length) < self.options.delete)
        deleted[:, 0] = False  # something must be left to encode
        kept = real & ~deleted & (first | ~covered)
        order = (~kept).to(torch.uint8).argsort(dim=1, stable=True)
        left = places < kept.sum(dim=1, keepdim=True)
        shown = torch.where(first, self.mask_id, ids)
        return {
            **{name: value for name, value in batch.items() if name != "word"},
            "input_ids": torch.where(left, shown.gather(1, order), self.filler),
            "attention_mask": left.long(),
            "token_type_ids": torch.where(left, batch["token_type_ids"].gather(1, order), 0),
            "target": torch.where(real, ids, IGNORE),
        }


def start_probability(options: DenoiseOptions) -> float:
    """How likely a token begins a span, so that about ``share`` of them is covered where spans may overlap: the chance
    that none of Poisson many spans of mean length ``span`` covers a token is exp(-probability * span)."""
    return -math.log(1.0 - options.share) / options.span


def span_lengths(span: float) -> Tensor:
    """(64,) probability that a span has at most 1, 2, ... tokens, with lengths 1 + Poisson(span - 1)."""
    mean, probability, total, table = span - 1.0, math.exp(1.0 - span), 0.0, []
    for extra in range(LONGEST_SPAN):
        total += probability
        table.append(total)
        probability *= mean / (extra + 1)
    return torch.tensor(table, dtype=torch.float32)


class DenoiseTask(PretrainingTask):
    """The backbone as encoder with a decoder; loss per token of the original."""

    def __init__(self, backbone: Any, options: DenoiseOptions) -> None:
        super().__init__(backbone)
        self.decoder = Decoder(backbone.dim, backbone.input_embedding(), options)

    def forward(self, batch: Batch, phase: str = "main") -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor | None]:
        tokens = self.backbone(batch, ("tokens",)).tokens
        mask = batch["attention_mask"].bool()
        logits = self.decoder(batch["target"], tokens, mask, self.backbone.input_embedding())
        scores = token_scores(logits, batch["target"])
        sums = scores.detach()
        return scores[:, LOSS].sum(), sums[:, COUNT].sum(), {}, sums

    def metrics(self) -> Metrics:
        """``perplexity`` and ``accuracy`` of the next token of the original, given those before it."""
        return TokenMetrics()


class Decoder(nn.Module):
    """Guesses each token from those before it and from the encoder's, over the backbone's token embeddings."""

    def __init__(self, dim: int, embedding: nn.Embedding, options: DenoiseOptions) -> None:
        super().__init__()
        heads = next(heads for heads in range(max(1, dim // HEAD_WIDTH), 0, -1) if dim % heads == 0)
        self.begin = nn.Parameter(INIT_STD * torch.randn(embedding.embedding_dim))
        self.entry = nn.Sequential(nn.Linear(embedding.embedding_dim, dim), nn.LayerNorm(dim))
        self.layers = nn.ModuleList(Block(dim, heads, options.dropout, cross=True) for _ in range(options.layers))
        self.norm = nn.LayerNorm(dim)
        init_normal(self)
        self.head = TiedHead(dim, embedding)

    def forward(self, target: Tensor, memory: Tensor, memory_mask: Tensor, embedding: nn.Embedding) -> Tensor:
        """target (B, N), memory (B, M, D), memory_mask (B, M) -> logits (B, N, V)."""
        before = embedding(target[:, :-1].clamp(min=0))  # what is read at padding only reaches padding
        begin = self.begin.to(before.dtype).expand(len(target), 1, -1)
        x = self.entry(torch.cat([begin, before], dim=1))
        x = x + sinusoids(x)
        for layer in self.layers:
            x = layer(x, causal=True, memory=memory, memory_mask=memory_mask)
        return self.head(self.norm(x), embedding.weight)
