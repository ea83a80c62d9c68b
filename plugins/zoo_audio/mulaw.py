"""Sound as one of 256 codes a sample: mu-law companding (ITU-T G.711), as WaveNet reads and guesses it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

CODES = 256


def mu_law_encode(waveform: Tensor) -> Tensor:
    """Samples in [-1, 1] -> int64 codes 0 to 255 of the same shape; silence is 128. Fine steps where samples are small,
    coarse ones where they are large. Samples beyond [-1, 1] are clipped."""
    mu = CODES - 1.0
    clipped = waveform.float().clamp(-1.0, 1.0)
    companded = clipped.sign() * torch.log1p(mu * clipped.abs()) / math.log1p(mu)
    return ((companded + 1) / 2 * mu + 0.5).to(torch.int64)
