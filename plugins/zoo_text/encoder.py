"""A small Transformer encoder to train from random numbers (Vaswani et al., 2017; pre-norm: Xiong et al., 2020)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from zoo_registry.errors import UsageError
from zoo_registry.specs import InputSpec, ModelSpec, WeightsSpec
from zoo_text.blocks import Block, init_normal
from zoo_text.token_backbone import TokenBackbone, finish, rows

SEGMENTS = 2


def build_encoder(
    spec: ModelSpec,
    input: InputSpec,
    weights: WeightsSpec | None = None,
    state: Mapping[str, Tensor] | None = None,
    *,
    dim: int = 256,
    layers: int = 4,
    heads: int = 4,
    dropout: float = 0.1,
    vocabulary: int | None = None,
) -> TokenBackbone:
    """Build a Transformer encoder with learned positions.

    Args:
        input: its ``assets`` hold the tokenizer, whose size is the embedding table's unless ``vocabulary`` is given.
        state: of the module of a backbone built alike; None: random numbers.
        dim, layers, heads: D, number of blocks, attention heads.
        dropout: on embeddings, attention weights and the output of each sublayer.

    Raises:
        UsageError: no tokenizer, a width that the heads cannot share, or texts longer than the table of positions.
        WeightsError: ``state`` does not fit.
    """
    context = spec.context or 512
    if input.size and input.size[0] > context:
        raise UsageError(
            f"{spec.name} takes {context} tokens, not {input.size[0]}.", f"Choose --max-length {context} or less."
        )
    module = Transformer(rows(input, vocabulary), context, dim=dim, layers=layers, heads=heads, dropout=dropout)
    names = ("input_ids", "attention_mask", "token_type_ids")
    return finish(TokenBackbone(module, spec, input, dim=dim, inputs=names), state)


class Transformer(nn.Module):
    """ids (B, N), mask (B, N), segments (B, N) -> [(B, N, D)] after each block, the last normalised."""

    def __init__(self, vocabulary: int, context: int, *, dim: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.embeddings = Embeddings(vocabulary, context, dim, dropout)
        self.layers = nn.ModuleList(Block(dim, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)
        init_normal(self)

    def forward(self, ids: Tensor, mask: Tensor, segments: Tensor) -> list[Tensor]:
        x = self.embeddings(ids, segments)
        maps = []
        for layer in self.layers:
            x = layer(x, mask)
            maps.append(x)
        return [*maps[:-1], self.norm(x)]


class Embeddings(nn.Module):
    """Token, position and segment embeddings, added."""

    def __init__(self, vocabulary: int, context: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, dim)
        self.positions = nn.Embedding(context, dim)
        self.segments = nn.Embedding(SEGMENTS, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor, segments: Tensor) -> Tensor:
        """ids, segments (B, N) -> (B, N, D)."""
        places = torch.arange(ids.shape[1], device=ids.device)
        return self.dropout(self.tokens(ids) + self.positions(places) + self.segments(segments))
