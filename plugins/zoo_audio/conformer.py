"""torchaudio's Conformer on log-mel frames, in which padding changes nothing. B batch, N frames, D width.

Gulati et al., "Conformer: Convolution-augmented Transformer for Speech Recognition", Interspeech 2020.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchaudio.models import Conformer

from zoo_audio.frame_backbone import FrameBackbone, FrameNetwork, Subsampling, finish, silenced
from zoo_audio.frontend import LogMel
from zoo_registry.errors import UsageError
from zoo_registry.specs import InputSpec, ModelSpec, WeightsSpec


def build_conformer(
    spec: ModelSpec,
    input: InputSpec,
    weights: WeightsSpec | None = None,
    state: Mapping[str, Tensor] | None = None,
    *,
    dim: int = 144,
    heads: int = 4,
    layers: int = 4,
    feed: int = 576,
    kernel: int = 15,
    dropout: float = 0.1,
    mels: int = 80,
) -> FrameBackbone:
    """Build a Conformer.

    Args:
        input: its ``rate``.
        state: of the module of a backbone built alike; None: random numbers.
        dim, heads, layers: D, attention heads, number of layers.
        feed: inner width of the feed-forward parts.
        kernel: frames that a depthwise convolution sees, odd.
        mels: bands of the front end.

    Raises:
        UsageError: a width that the heads cannot share, or an even kernel.
        WeightsError: ``state`` does not fit.
    """
    if heads < 1 or dim % heads:
        raise UsageError(f"A width of {dim} cannot be shared by {heads} heads.", "Choose a multiple of the heads.")
    if kernel % 2 == 0:
        raise UsageError(f"A kernel of {kernel} frames has no middle.", "Choose an odd number.")
    encoder = Conformer(dim, heads, feed, layers, kernel, dropout)
    module = ConformerNetwork(Subsampling(mels, dim, dropout), encoder)
    front = LogMel(input.rate, mels=mels)
    return finish(FrameBackbone(front, module, "encoder.conformer_layers", spec, input, dim), state)


class ConformerNetwork(FrameNetwork):
    """A :class:`torchaudio.models.Conformer` run layer by layer. With one whole clip it is torchaudio's own forward;
    beside that, frames that are no part of a clip are left out of attention, of the depthwise convolution and of the
    statistics of batch normalisation."""

    def forward(self, features: Tensor, mask: Tensor) -> list[Tensor]:
        encoder: Any = self.encoder
        outputs, x = [], features
        for layer in encoder.conformer_layers:
            x = self.layer(layer, x, mask)
            outputs.append(x)
        return outputs

    def layer(self, layer: Any, x: Tensor, mask: Tensor) -> Tensor:
        """One of torchaudio's layers: (B, N, D), (B, N) bool -> (B, N, D), zero where padded."""
        x = x + 0.5 * layer.ffn1(x)
        x = x + layer.self_attn_dropout(attention(layer.self_attn, layer.self_attn_layer_norm(x), mask))
        x = x + convolution(layer.conv_module, x, mask)
        return silenced(layer.final_layer_norm(x + 0.5 * layer.ffn2(x)), mask)


def attention(module: nn.MultiheadAttention, x: Tensor, mask: Tensor) -> Tensor:
    """Self-attention of (B, N, D) to the frames where mask (B, N) is True."""
    query, key, value = (
        part.unflatten(2, (module.num_heads, -1)).transpose(1, 2)  # (B, heads, N, D / heads)
        for part in F.linear(x, module.in_proj_weight, module.in_proj_bias).chunk(3, dim=2)
    )
    mixed = F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask[:, None, None, :], dropout_p=module.dropout if module.training else 0.0
    )
    return module.out_proj(mixed.transpose(1, 2).flatten(2))


def convolution(module: Any, x: Tensor, mask: Tensor) -> Tensor:
    """torchaudio's convolution module on (B, N, D), as if each clip ended with its last real frame."""
    expand, gate, depthwise, norm, activation, project, dropout = module.sequential
    real = mask[:, None, :]
    maps = gate(expand(module.layer_norm(x).transpose(1, 2))) * real.to(x.dtype)
    maps = masked_batch_norm(norm, depthwise(maps), real)
    return dropout(project(activation(maps))).transpose(1, 2)


def masked_batch_norm(norm: nn.BatchNorm1d, maps: Tensor, real: Tensor) -> Tensor:
    """``norm`` of maps (B, C, N), whose statistics in training are those of the places where real (B, 1, N) is True."""
    if not norm.training:
        return norm(maps)
    wide, weight = maps.float(), real.to(torch.float32)
    count = weight.sum().clamp(min=1)
    mean = (wide * weight).sum(dim=(0, 2)) / count
    centred = wide - mean[:, None]
    variance = (centred.square() * weight).sum(dim=(0, 2)) / count
    if norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None:
        with torch.no_grad():
            norm.num_batches_tracked.add_(1)
            share = 1.0 / norm.num_batches_tracked if norm.momentum is None else norm.momentum
            norm.running_mean.lerp_(mean.detach().to(norm.running_mean), share)
            unbiased = variance.detach() * count / (count - 1).clamp(min=1)
            norm.running_var.lerp_(unbiased.to(norm.running_var), share)
    scale = torch.rsqrt(variance + norm.eps) * norm.weight
    return (centred * scale[:, None] + norm.bias[:, None]).to(maps.dtype)
