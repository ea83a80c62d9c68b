"""Mixing two states of one network: WiSE-FT (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from zoo_registry.errors import UsageError


def interpolate(start: Mapping[str, Tensor], tuned: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """``(1 - alpha) * start + alpha * tuned``, tensor by tensor, buffers included: statistics of batch normalisation
    are means, and their mixture is nearer to those of the mixed network than either. Whole numbers (counters, tables)
    have no mixture; they are ``tuned``'s.

    Args:
        start, tuned: state dicts with the same names and shapes, on one device. Neither is changed.
        alpha: from 0, which gives ``start`` bit for bit, to 1, which gives ``tuned``. What is equal in both stays so.

    Raises:
        UsageError: ``alpha`` is outside [0, 1], or the states are not of one network.
    """
    if not 0.0 <= alpha <= 1.0:
        raise UsageError(f"A mixture of {alpha:g} is none.", "Give a share of the finetuned weights from 0 to 1.")
    differing = [name for name in {**start, **tuned} if _shape(start, name) != _shape(tuned, name)]
    if differing:
        raise UsageError(
            f"The two states are not of one network: {len(differing)} tensors differ, such as {differing[0]}.",
            "Mix a network with what it was finetuned to.",
        )
    return {name: _mixed(start[name], tensor, alpha) for name, tensor in tuned.items()}


def _shape(state: Mapping[str, Tensor], name: str) -> torch.Size | None:
    return state[name].shape if name in state else None


def _mixed(start: Tensor, tuned: Tensor, alpha: float) -> Tensor:
    if not tuned.is_floating_point():
        return tuned.clone()
    # Half precision would round the difference, which is small. lerp is exact at both ends and where nothing differs.
    wide = torch.promote_types(tuned.dtype, torch.float32)
    return torch.lerp(start.to(wide), tuned.to(wide), alpha).to(tuned.dtype)
