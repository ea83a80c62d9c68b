"""Mel-frequency cepstral coefficients with their slopes (Davis and Mermelstein, 1980; Furui, 1986), of padded batches.
B samples, T samples of sound, N frames of 10 ms, M mel bands, C coefficients.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from zoo_audio.frontend import LogMel

BANDS, COEFFICIENTS, REACH = 40, 13, 2


class Mfcc(nn.Module):
    """The first 13 coefficients, their slopes and the slopes of these: C = 39, as HuBERT's first clusters are of.

    Args:
        rate: of the sound, in samples per second.
    """

    width = 3 * COEFFICIENTS
    basis: Tensor

    def __init__(self, rate: int) -> None:
        super().__init__()
        self.mel = LogMel(rate, mels=BANDS, normalise=False)
        self.register_buffer("basis", cosines(BANDS, COEFFICIENTS), persistent=False)

    def forward(self, waveform: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) and (B,) int64 -> coefficients (B, N, C) and the counts of real frames (B,)."""
        mel, count = self.mel(waveform, length)
        plain = mel @ self.basis
        first = slopes(plain, count)
        return torch.cat([plain, first, slopes(first, count)], dim=-1), count


def cosines(bands: int, coefficients: int) -> Tensor:
    """(bands, coefficients) orthonormal DCT-II."""
    places = torch.arange(bands, dtype=torch.float64) + 0.5
    basis = torch.cos(math.pi / bands * places[:, None] * torch.arange(coefficients, dtype=torch.float64))
    basis[:, 0] *= 1 / math.sqrt(2.0)
    return (basis * math.sqrt(2.0 / bands)).float()


def slopes(frames: Tensor, count: Tensor) -> Tensor:
    """Regression over two frames to either side, the first and the last real frame standing for those outside them:
    (B, N, C) and (B,) -> (B, N, C)."""
    places = torch.arange(frames.shape[1], device=frames.device)
    last = (count - 1).clamp(min=0)[:, None]

    def shifted(by: int) -> Tensor:
        chosen = torch.minimum((places + by).clamp(min=0)[None], last)
        return frames.gather(1, chosen[..., None].expand_as(frames))

    total = sum((by * (shifted(by) - shifted(-by)) for by in range(1, REACH + 1)), torch.zeros_like(frames))
    return total / (2 * sum(by * by for by in range(1, REACH + 1)))
