"""Waveforms to log-mel spectrograms, inside the network: what is trained is what is exported. B batch, T samples, N
frames, M mel bands."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchaudio.functional import melscale_fbanks

from zoo_audio.masked import real_frames
from zoo_registry.errors import UsageError

HOP_SECONDS = 0.01
WINDOW_SECONDS = 0.025
SILENCE = 1e-10
"""Mel power below which there is nothing: that of rounding to 16 bits, more or less."""

FLATNESS = 1e-2
"""Added to the variance: what has less to tell apart than this (silence) is not blown up."""


class LogMel(nn.Module):
    """Log-mel spectrograms by a convolution with windowed sines and cosines, which exports to any runtime.

    Before the logarithm the powers equal ``torchaudio.transforms.MelSpectrogram(center=True, pad_mode="constant")``
    with a Hann window and the HTK mel scale. Powers are floored ``range_db`` below the clip's loudest, so that float
    errors in bands that hold next to nothing stay small, and so that the result does not depend on the gain.

    Args:
        rate: samples per second of the waveforms.
        mels: M.
        hop: samples between frames; None: 10 ms.
        window: samples a frame covers, even; None: 25 ms.
        n_fft: length of the transform; None: the shortest power of two that leaves no mel band empty.
        f_min, f_max: edges of the mel bands in Hz; None: half the rate.
        range_db: dynamic range kept.
        normalise: bring each clip's real frames to mean 0 and standard deviation 1.

    Raises:
        UsageError: the bands do not fit the rate, or the transform is shorter than the window.
    """

    kernel: Tensor
    filters: Tensor

    def __init__(
        self,
        rate: int,
        *,
        mels: int = 80,
        hop: int | None = None,
        window: int | None = None,
        n_fft: int | None = None,
        f_min: float = 20.0,
        f_max: float | None = None,
        range_db: float = 80.0,
        normalise: bool = True,
    ) -> None:
        super().__init__()
        top = rate / 2 if f_max is None else f_max
        if not 0 <= f_min < top <= rate / 2:
            raise UsageError(
                f"Mel bands from {f_min:g} to {top:g} Hz do not fit {rate:,} samples per second.",
                f"Choose 0 <= f_min < f_max <= {rate / 2:g}.",
            )
        self.rate, self.mels, self.normalise = rate, mels, normalise
        self.hop = hop or max(1, round(HOP_SECONDS * rate))
        self.window = window or 2 * max(1, round(WINDOW_SECONDS * rate / 2))
        self.n_fft = n_fft or _transform_length(self.window, rate, mels, f_min, top)
        if self.window % 2 or self.n_fft < self.window:
            raise UsageError(
                f"A window of {self.window} samples does not fit a transform of {self.n_fft}.",
                "Choose an even window no longer than the transform.",
            )
        self.floor = 10.0 ** (-range_db / 10)
        filters = _filters(self.n_fft, rate, mels, f_min, top)
        used = filters.any(dim=1)  # bins outside the bands need no convolution
        # Made from the arguments alone, so they are no part of the weights.
        self.register_buffer("kernel", _kernel(self.window, self.n_fft, used), persistent=False)
        self.register_buffer("filters", filters[used], persistent=False)

    def frames(self, length: Tensor) -> Tensor:
        """Real frames of clips of ``length`` samples, elementwise."""
        return length // self.hop + 1

    def power(self, waveform: Tensor, length: Tensor) -> Tensor:
        """Mel powers (B, N, M) of waveforms (B, T) with ``length`` (B,) real samples each, N = T // hop + 1."""
        heard = waveform * real_frames(length, waveform.shape[1])
        # Half precision cannot hold powers, whatever the rest of the network is computed in.
        with torch.autocast(waveform.device.type, enabled=False):
            waves = F.conv1d(heard.float()[:, None], self.kernel, stride=self.hop, padding=self.window // 2)
            real, imaginary = waves.square().chunk(2, dim=1)  # (B, bins, N) each
            return (real + imaginary).transpose(1, 2) @ self.filters

    def forward(self, waveform: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
        """waveform (B, T) float, length (B,) int64 -> (B, N, M) natural logarithms, or normalised ones, and the counts
        of real frames (B,). Frames beyond a clip's count are 0."""
        power, counts = self.power(waveform, length), self.frames(length)
        real = real_frames(counts, power.shape[1])[:, :, None].to(power.dtype)
        loudest = (power * real).amax(dim=(1, 2), keepdim=True)
        logs = power.clamp(min=SILENCE).maximum(loudest * self.floor).log()
        if self.normalise:
            logs = standardise(logs, real)
        return logs * real, counts


def standardise(x: Tensor, real: Tensor) -> Tensor:
    """x (B, N, M) with mean 0 and standard deviation 1 over each clip's real frames; real (B, N, 1) is 1 there."""
    count = real.sum(dim=(1, 2), keepdim=True) * x.shape[2]
    mean = (x * real).sum(dim=(1, 2), keepdim=True) / count
    centred = (x - mean) * real
    variance = centred.square().sum(dim=(1, 2), keepdim=True) / count
    return centred * (variance + FLATNESS).rsqrt()


def _filters(n_fft: int, rate: int, mels: int, f_min: float, f_max: float) -> Tensor:
    """(n_fft // 2 + 1, M) triangles."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about empty bands, which the caller looks for itself
        return melscale_fbanks(n_fft // 2 + 1, f_min, f_max, mels, rate)


def _transform_length(window: int, rate: int, mels: int, f_min: float, f_max: float) -> int:
    n_fft = 1 << (window - 1).bit_length()
    while n_fft < rate and not _filters(n_fft, rate, mels, f_min, f_max).any(dim=0).all():
        n_fft *= 2
    return n_fft


def _kernel(window: int, n_fft: int, used: Tensor) -> Tensor:
    """(2 * bins, 1, window): cosines, then sines, of the used bins under a Hann window. In double precision first: the
    angles run into the thousands."""
    bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64)[used]
    angles = 2 * math.pi / n_fft * bins[:, None] * torch.arange(window, dtype=torch.float64)
    waves = torch.cat([angles.cos(), angles.sin()]) * torch.hann_window(window, dtype=torch.float64)
    return waves[:, None].float()
