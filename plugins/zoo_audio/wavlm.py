"""WavLM's transformer layer over torchaudio's modules: padding is masked, and it exports to ONNX.

torchaudio's own forward takes no mask from its encoder, makes positions on the CPU and a copy of their bias for every
sample, and reshapes the attention's output in a way that the exporter cannot follow.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchaudio.models.wav2vec2.components import EncoderLayer
from torchaudio.models.wav2vec2.wavlm_attention import WavLMSelfAttention

GATES = 2


def position_bias(attention: WavLMSelfAttention, hidden: Tensor) -> Tensor:
    """(1, heads, N, N): what the first layer learnt of each distance between frames of ``hidden`` (B, N, D).

    Chen et al., "WavLM", 2022, section III-A; distances share buckets the more the longer they are.
    """
    places = torch.arange(hidden.shape[1], device=hidden.device)
    buckets = attention._relative_positions_bucket(places[None, :] - places[:, None])
    return attention.rel_attn_embed(buckets).permute(2, 0, 1)[None]


def wavlm_layer(layer: EncoderLayer, hidden: Tensor, bias: Tensor, mask: Tensor) -> Tensor:
    """One layer: (B, N, D) with a bias (1, heads, N, N) and a mask (B, N), True where a frame is real -> (B, N, D)."""
    normed = layer.layer_norm(hidden) if layer.layer_norm_first else hidden
    hidden = hidden + layer.dropout(_attended(layer.attention, normed, bias, mask))
    if layer.layer_norm_first:
        return hidden + layer.feed_forward(layer.final_layer_norm(hidden))
    hidden = layer.layer_norm(hidden)
    return layer.final_layer_norm(hidden + layer.feed_forward(hidden))


def _attended(attention: WavLMSelfAttention, hidden: Tensor, bias: Tensor, mask: Tensor) -> Tensor:
    added = _gate(attention, hidden) * bias
    added = added.masked_fill(~mask[:, None, None, :], float("-inf"))
    inner = attention.attention
    projected = F.linear(hidden, inner.in_proj_weight, inner.in_proj_bias)
    query, key, value = (_heads(part, attention.num_heads) for part in projected.chunk(3, dim=-1))
    dropout = attention.dropout if attention.training else 0.0
    made = F.scaled_dot_product_attention(query, key, value, attn_mask=added.to(query.dtype), dropout_p=dropout)
    # A copy, although the kernel may have written it in this order: the exporter's kernel does not.
    made = made.transpose(1, 2).clone(memory_format=torch.contiguous_format)
    return inner.out_proj(made.flatten(2))


def _gate(attention: WavLMSelfAttention, hidden: Tensor) -> Tensor:
    """(B, heads, N, 1): how much each frame's query makes of positions."""
    halves = attention.gru_rel_pos_linear(_heads(hidden, attention.num_heads)).unflatten(-1, (GATES, -1)).sum(-1)
    update, reset = halves.sigmoid().chunk(GATES, dim=-1)
    return update * (reset * attention.gru_rel_pos_const - 1.0) + 2.0


def _heads(hidden: Tensor, heads: int) -> Tensor:
    """(B, N, D) -> (B, heads, N, D / heads)."""
    return hidden.unflatten(-1, (heads, -1)).transpose(1, 2)
