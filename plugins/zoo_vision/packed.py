"""Weights in a quarter of their size: eight bits a number, one scale an output channel, expanded when they are read.

A packed state dict holds each matrix or kernel (O, ...) as int8 under its own name and its scales (O,) float32 under
``NAME:scale``; everything else is kept as it is.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE = ":scale"
STEPS = 127


def pack(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict packed. The largest weight of a channel becomes 127, so the error of one is at most half a step:
    1/254 of that largest."""
    packed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if tensor.ndim < 2 or not tensor.is_floating_point():
            packed[name] = tensor.clone()
            continue
        rows = tensor.detach().float().flatten(1)
        scale = rows.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny * STEPS) / STEPS
        packed[name] = (rows / scale[:, None]).round().to(torch.int8).view(tensor.shape)
        packed[name + SCALE] = scale
    return packed


def unpack(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What :func:`pack` packed, in float32. Other state dicts come back as they are."""
    return {
        name: _expanded(tensor, state[name + SCALE]) if name + SCALE in state else tensor
        for name, tensor in state.items()
        if not name.endswith(SCALE)
    }


def _expanded(tensor: Tensor, scale: Tensor) -> Tensor:
    return tensor.float() * scale.view(-1, *[1] * (tensor.ndim - 1))
