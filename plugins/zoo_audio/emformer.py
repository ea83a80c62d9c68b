"""torchaudio's Emformer on log-mel frames, in which padding changes nothing. B batch, N frames, D width, S segments of
L frames, R frames of right context.

Shi et al., "Emformer: Efficient Memory Transformer Based Acoustic Model for Low Latency Streaming Speech Recognition",
ICASSP 2021.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchaudio.models import Emformer

from zoo_audio.frame_backbone import FrameBackbone, FrameNetwork, Subsampling, finish, silenced
from zoo_audio.frontend import LogMel
from zoo_registry.errors import UsageError
from zoo_registry.specs import InputSpec, ModelSpec, WeightsSpec


def build_emformer(
    spec: ModelSpec,
    input: InputSpec,
    weights: WeightsSpec | None = None,
    state: Mapping[str, Tensor] | None = None,
    *,
    dim: int = 144,
    heads: int = 4,
    layers: int = 6,
    feed: int = 576,
    segment: int = 8,
    left: int = 32,
    right: int = 2,
    dropout: float = 0.1,
    mels: int = 80,
) -> FrameBackbone:
    """Build an Emformer without memory.

    Args:
        input: its ``rate``.
        state: of the module of a backbone built alike; None: random numbers.
        dim, heads, layers: D, attention heads, number of layers.
        feed: inner width of the feed-forward parts.
        segment, left, right: frames of a segment, and before and after it, that its frames attend to.
        mels: bands of the front end.

    Raises:
        UsageError: a width that the heads cannot share, or contexts that make no sense.
        WeightsError: ``state`` does not fit.
    """
    if heads < 1 or dim % heads:
        raise UsageError(f"A width of {dim} cannot be shared by {heads} heads.", "Choose a multiple of the heads.")
    if segment < 1 or left < 0 or right < 1:
        raise UsageError(
            f"Segments of {segment} frames after {left} and before {right} make no sense.",
            "Give a segment and a right context of 1 or more, and a left context of 0 or more.",
        )
    encoder = Emformer(
        dim,
        heads,
        feed,
        layers,
        segment,
        dropout,
        activation="gelu",
        left_context_length=left,
        right_context_length=right,
    )
    module = EmformerNetwork(Subsampling(mels, dim, dropout), encoder)
    front = LogMel(input.rate, mels=mels)
    return finish(FrameBackbone(front, module, "encoder.emformer_layers", spec, input, dim), state)


class EmformerNetwork(FrameNetwork):
    """A :class:`torchaudio.models.Emformer` run segment by segment in parallel: each attends to the frames left of it,
    to itself and to copies of the frames right of it, which stand still in time through all layers. So no frame waits
    for more than a segment and its right context, however many layers there are, and ``encoder.infer`` gives the same
    from a stream. With one whole clip it is torchaudio's own forward."""

    def forward(self, features: Tensor, mask: Tensor) -> list[Tensor]:
        encoder: Any = self.encoder
        size, right, left = encoder.segment_length, encoder.right_context_length, encoder.left_context_length
        frames = features.shape[1]
        segments = (frames + size - 1) // size
        starts = torch.arange(segments, device=features.device)[:, None] * size  # (S, 1)
        inside = starts + torch.arange(size, device=features.device)  # (S, L)
        behind = starts + torch.arange(size, size + right, device=features.device)  # (S, R)
        before = starts + torch.arange(left + size, device=features.device)  # (S, left + L), of frames moved by left
        padded = F.pad(silenced(features, mask), (0, 0, 0, size + right))
        # The last segment's right context begins where the clip ends, and there is nothing.
        x, ahead = padded[:, inside], padded[:, behind]  # (B, S, L, D), (B, S, R, D)
        heard = F.pad(mask, (left, size))[:, before]  # (B, S, left + L)
        keys = torch.cat([torch.ones_like(heard[:, :, :right]), heard], dim=2).flatten(0, 1)[:, None, None]
        outputs = []
        for layer in encoder.emformer_layers:
            x, ahead = self.layer(layer, x, ahead, before, keys)
            outputs.append(silenced(x.flatten(1, 2)[:, :frames], mask))
        return outputs

    def layer(self, layer: Any, x: Tensor, ahead: Tensor, before: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """One of torchaudio's layers: segments (B, S, L, D) and their right contexts (B, S, R, D) -> the same."""
        module, right = layer.attention, ahead.shape[2]
        both = torch.cat([ahead, x], dim=2)
        normed = layer.layer_norm_input(both)
        moved = F.pad(normed[:, :, right:].flatten(1, 2), (0, 0, layer.left_context_length, 0))
        context = torch.cat([normed[:, :, :right], moved[:, before]], dim=2)  # (B, S, R + left + L, D)
        query = module.emb_to_query(normed)
        key, value = module.emb_to_key_value(context).chunk(2, dim=3)
        query, key, value = (
            part.flatten(0, 1).unflatten(2, (module.num_heads, -1)).transpose(1, 2)  # (B S, heads, frames, D / heads)
            for part in (query, key, value)
        )
        dropout = module.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=keys, dropout_p=dropout)
        both = both + layer.dropout(module.out_proj(mixed.transpose(1, 2).flatten(2))).unflatten(0, x.shape[:2])
        both = layer.layer_norm_output(both + layer.pos_ff(both))
        return both[:, :, right:], both[:, :, :right]
