"""Mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019), per sample and on the batch's device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from zoo.protocols import Batch, Draws
from zoo_registry.errors import UsageError


@dataclass(frozen=True)
class Mix:
    """Mix every sample with its neighbour in the batch.

    Attributes:
        mixup: alpha of the Beta(alpha, alpha) that mixup's share is drawn from; 0 turns mixup off.
        cutmix: the same for CutMix. With both on, each sample takes either with probability one half.
        classes: number of classes C of integer labels.
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    classes: int = 0

    def __post_init__(self) -> None:
        if self.mixup < 0 or self.cutmix < 0:
            raise UsageError("Mixup and cutmix are negative.", "Give alphas of 0 (off) or more, such as 0.2.")

    def __bool__(self) -> bool:
        return self.mixup > 0 or self.cutmix > 0


def apply_mix(batch: Batch, name: str, mix: Mix, draws: Draws) -> Batch:
    """The batch with each sample's input (B, ...) and label mixed with the one before it in the batch.

    ``label`` becomes (B, C) class probabilities (int64 labels) or stays (B, C) mixed targets (multi-label). The partner
    is the neighbour in the batch as it comes here, so the micro-batch size decides who mixes with whom.

    Raises:
        UsageError: regression labels, or CutMix on inputs that are not (B, channels, height, width).
    """
    inputs, targets = batch[name], probabilities(batch["label"], mix.classes)
    share, box = _shares(inputs, mix, draws)
    partner = inputs.roll(1, 0)
    wide = share.reshape(-1, *[1] * (inputs.dim() - 1)).to(inputs.dtype)
    mixed = wide * inputs + (1 - wide) * partner
    if box is not None:
        mixed = torch.where(box, partner, mixed)
        # Inside the box everything is the partner's, outside nothing: the label follows the pixels really pasted.
        share = torch.where(box.flatten(1).any(1), 1 - box.flatten(1).to(torch.float32).mean(1), share)
    label = share[:, None] * targets + (1 - share[:, None]) * targets.roll(1, 0)
    return {**batch, name: mixed, "label": label}


def probabilities(label: Tensor, classes: int) -> Tensor:
    """(B,) int64 ids as (B, classes) float32 one-hot rows; (B, C) float targets unchanged."""
    if label.dim() == 2:
        return label
    if label.is_floating_point():
        raise UsageError("Mixup and cutmix need class labels, not numbers.", "Turn them off for regression.")
    return torch.nn.functional.one_hot(label, classes).to(torch.float32)


def _shares(inputs: Tensor, mix: Mix, draws: Draws) -> tuple[Tensor, Tensor | None]:
    """((B,) share a sample keeps of itself outside its box, (B, 1, H, W) bool box to paste into or None)."""
    u = draws.uniform("mix", 5)
    if not mix.cutmix:
        return beta_quantile(u[:, 0], mix.mixup), None
    if inputs.dim() != 4:
        raise UsageError("Cutmix needs images.", "Use mixup for other inputs.")
    cut = u[:, 1] < (0.5 if mix.mixup else 1.0)
    box = _boxes(1 - beta_quantile(u[:, 0], mix.cutmix), u[:, 2], u[:, 3], *inputs.shape[-2:])
    box &= cut[:, None, None, None]
    share = beta_quantile(u[:, 4], mix.mixup) if mix.mixup else torch.ones_like(u[:, 0])
    return torch.where(cut, torch.ones_like(share), share), box


def _boxes(area: Tensor, x: Tensor, y: Tensor, height: int, width: int) -> Tensor:
    """(B, 1, H, W): boxes of relative ``area``, shaped like the image, centred at (x, y), cut at its edges."""
    side = area.sqrt()[:, None] / 2
    rows = (torch.arange(height, device=area.device)[None] + 0.5) / height
    columns = (torch.arange(width, device=area.device)[None] + 0.5) / width
    inside_y = (rows - y[:, None]).abs() < side  # (B, H)
    inside_x = (columns - x[:, None]).abs() < side  # (B, W)
    return (inside_y[:, :, None] & inside_x[:, None, :])[:, None]


def beta_quantile(u: Tensor, alpha: float) -> Tensor:
    """Uniform numbers ``u`` in [0, 1) as Beta(alpha, alpha) numbers, by inverting the distribution function."""
    table = torch.from_numpy(_half_quantiles(alpha)).to(u.device)
    mirrored = (u >= 0.5).to(u.dtype)
    place = torch.where(u < 0.5, u, 1 - u) * 2 * (len(table) - 1)
    low = place.long().clamp(max=len(table) - 2)
    t = torch.lerp(table[low], table[low + 1], place - low)
    half = 0.5 * t ** (1 / alpha)
    return mirrored + (1 - 2 * mirrored) * half


@lru_cache(maxsize=8)
def _half_quantiles(alpha: float, points: int = 4097) -> np.ndarray:
    """t at evenly spaced probabilities of the lower half, where x = t**(1/alpha) / 2 takes the density's pole away."""
    t = np.linspace(0.0, 1.0, points)
    density = (1 - 0.5 * t ** (1 / alpha)) ** (alpha - 1)
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return np.interp(np.linspace(0.0, 1.0, points), mass / mass[-1], t).astype(np.float32)
