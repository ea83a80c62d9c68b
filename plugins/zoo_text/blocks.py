"""Pre-norm Transformer blocks (Vaswani et al., 2017; the norm before each sublayer after Xiong et al., 2020).

B batch, N queries, M keys, D width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_registry.errors import UsageError

EXPANSION = 4
INIT_STD = 0.02


class Attention(nn.Module):
    """Multi-head scaled dot-product attention.

    Args:
        dim: D, a multiple of ``heads``.
        dropout: on the attention weights.

    Raises:
        UsageError: the width cannot be shared by the heads.
    """

    def __init__(self, dim: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise UsageError(f"A width of {dim} cannot be shared by {heads} heads.", "Choose a multiple of the heads.")
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """x (B, N, D) attends to memory (B, M, D) where mask (B, M) is True, or to what is not after it."""
        query = self._split(self.query(x))
        key, value = (self._split(part) for part in self.key_value(memory).chunk(2, dim=-1))
        mixed = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if mask is None else mask[:, None, None, :],
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=causal,
        )
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, heads, N, D / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """Self-attention, attention to a memory where ``cross``, and a feed-forward network, each added to its input."""

    def __init__(self, dim: int, heads: int, dropout: float = 0.0, *, cross: bool = False) -> None:
        super().__init__()
        self.attention_norm, self.attention = nn.LayerNorm(dim), Attention(dim, heads, dropout)
        if cross:
            self.cross_norm, self.cross = nn.LayerNorm(dim), Attention(dim, heads, dropout)
        self.feed_norm = nn.LayerNorm(dim)
        self.feed = nn.Sequential(
            nn.Linear(dim, EXPANSION * dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(EXPANSION * dim, dim)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        *,
        causal: bool = False,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
    ) -> Tensor:
        """x (B, N, D) -> (B, N, D). ``mask`` (B, N) and ``memory_mask`` (B, M) are True where a token is real."""
        normed = self.attention_norm(x)
        x = x + self.dropout(self.attention(normed, normed, mask, causal))
        if memory is not None:
            x = x + self.dropout(self.cross(self.cross_norm(x), memory, memory_mask))
        return x + self.dropout(self.feed(self.feed_norm(x)))


def sinusoids(like: Tensor) -> Tensor:
    """(N, D) positions of Vaswani et al. (2017), section 3.5, for ``like`` (B, N, D): any length, no parameters."""
    length, dim = like.shape[1:]
    places = torch.arange(length, device=like.device, dtype=torch.float32)
    rates = torch.exp(torch.arange(0, dim, 2, device=like.device, dtype=torch.float32) * (-math.log(10_000.0) / dim))
    angles = places[:, None] * rates[None, :]
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :dim].to(like.dtype)


def init_normal(module: nn.Module) -> None:
    """Weights from N(0, 0.02) and zero biases, as in BERT (Devlin et al., 2019)."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, std=INIT_STD)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
