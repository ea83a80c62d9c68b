"""Logits with one row a frame, and which frames are real. B batch, N frames, D embedding width, C classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.protocols import Features
from zoo_registry.errors import PluginError

INIT_STD = 0.01
OFF = -1e4
"""Logit of what is ruled out; no network that still learns gives one so low."""


class FrameLinear(nn.Module):
    """A linear layer on every frame: tokens (B, N, D) -> logits (B, N, C) in float32. Frames that are padding say class
    0, certainly: 0 for it, :data:`OFF` for all others. So nobody behind it needs lengths.

    Args:
        dim: D.
        classes: C, two or more.
        dropout: on the tokens.
    """

    certain: Tensor

    def __init__(self, dim: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(dim, classes)
        nn.init.trunc_normal_(self.linear.weight, std=INIT_STD)
        nn.init.zeros_(self.linear.bias)
        certain = torch.full((classes,), OFF)
        certain[0] = 0.0
        self.register_buffer("certain", certain, persistent=False)

    def forward(self, features: Features) -> Tensor:
        if features.tokens is None:
            raise PluginError("The backbone gives no frames.", "Its spec must not list the layout tokens; report it.")
        # float32, because half precision rounds OFF, which tells padding apart.
        logits = self.linear(self.dropout(features.tokens)).float()
        return logits if features.mask is None else torch.where(features.mask[..., None], logits, self.certain)


def real_frames(logits: Tensor) -> Tensor:
    """(B, N) bool: the frames of :class:`FrameLinear`'s logits that are no padding.

    The logits themselves tell: a loss sees no Features, a head that remembered a mask would have state, and lengths in
    samples would need the backbone's arithmetic a second time.
    """
    return logits[..., 1] > OFF
