"""Statistics over the real part of padded sound, so that padding changes nothing. B batch, C channels, N frames."""

from __future__ import annotations

import torch
from torch import Tensor, nn

NORMALISATION_EPS = 1e-5
"""As of torchaudio's and fairseq's normalisation of waveforms."""


def real_frames(counts: Tensor, frames: int) -> Tensor:
    """(B,) counts -> (B, frames) bool, True in each row's first ``counts``."""
    return torch.arange(frames, device=counts.device) < counts[:, None]


def masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """(B, N, D) and (B, N) bool -> (B, D): the mean of the real tokens; zeros where there is none."""
    weights = mask[:, :, None].to(tokens.dtype)
    return (tokens * weights).sum(1) / weights.sum(1).clamp(min=1)


def normalised_waveform(waveform: Tensor, length: Tensor) -> Tensor:
    """Zero mean and unit variance over each clip's real samples; zeros beyond them, as before.

    Args:
        waveform: (B, T).
        length: (B,) real samples.
    """
    real = real_frames(length, waveform.shape[1]).to(waveform.dtype)
    count = real.sum(1, keepdim=True).clamp(min=1)
    centred = (waveform - (waveform * real).sum(1, keepdim=True) / count) * real
    variance = centred.square().sum(1, keepdim=True) / count
    return centred * torch.rsqrt(variance + NORMALISATION_EPS)


def masked_group_norm(norm: nn.GroupNorm, maps: Tensor, mask: Tensor) -> Tensor:
    """``norm`` with as many groups as channels (an instance norm over time) whose mean and variance are those of real
    frames. Where all are real it is ``norm(maps)``.

    Args:
        norm: its scale and shift are used.
        maps: (B, C, N).
        mask: (B, N) bool.
    """
    wide = maps.float()  # as torch's own under autocast: sums over minutes do not fit half precision
    real = mask[:, None, :].to(wide.dtype)
    count = real.sum(2, keepdim=True).clamp(min=1)
    centred = wide - (wide * real).sum(2, keepdim=True) / count
    variance = (centred.square() * real).sum(2, keepdim=True) / count
    scale = torch.rsqrt(variance + norm.eps) * norm.weight[:, None]
    return torch.addcmul(norm.bias[:, None], centred, scale).to(maps.dtype)
