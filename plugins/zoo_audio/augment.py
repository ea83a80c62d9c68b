"""The training transform of sound: speed, gain, noise, stretches of time and bands of pitch left out, drawn per sample
and computed per batch. B batch, T samples of sound.

Everything happens to the waveform, so that every backbone gets it. A recording comes out the same whatever batch it
stands in and however far it is padded, but for the last bits of sums. After Ko et al. 2015 ("Audio augmentation for
speech recognition": speed) and Park et al. 2019 ("SpecAugment", arXiv:1904.08779: time and frequency masks).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.data.draws import HashDraws
from zoo.protocols import Draws
from zoo_registry.errors import UsageError

OCTAVES = 8
"""Of pink noise: below the rate / 2**9 (31 Hz of 16 kHz) it is as good as flat, and a network hears nothing there."""

BITS = 16
"""Speed is a fixed-point number of so many fractional bits: long recordings keep their exact places on any device."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Ranges of the training transform.

    Attributes:
        speed: factor of tempo and pitch, drawn uniformly; 1.1 makes a recording shorter by a factor of 1.1.
        gain: in dB, drawn uniformly.
        noise: probability of added noise, its colour drawn between white and pink.
        snr: the recording's power above the noise's in dB, drawn uniformly.
        time_masks: stretches of silence put into a recording; 0 for none.
        time_share: largest share of the recording that all of them together cover.
        band: probability of removing a band of frequencies.
        band_share: largest width of the band, as a share of the mel scale from 0 Hz to half the rate.

    Raises:
        UsageError: a range that is empty or outside its meaning.
    """

    speed: tuple[float, float] = (0.9, 1.1)
    gain: tuple[float, float] = (-6.0, 6.0)
    noise: float = 0.5
    snr: tuple[float, float] = (10.0, 40.0)
    time_masks: int = 2
    time_share: float = 0.2
    band: float = 0.5
    band_share: float = 0.2

    def __post_init__(self) -> None:
        low, high = self.speed
        if not 0.25 <= low <= high <= 4:
            _refuse("speed", self.speed, "two factors in ascending order, in 0.25..4")
        for name in ("gain", "snr"):
            low, high = getattr(self, name)
            if not -120 <= low <= high <= 120:
                _refuse(name, getattr(self, name), "two numbers of dB in ascending order, in -120..120")
        for name in ("noise", "band"):
            if not 0 <= getattr(self, name) <= 1:
                _refuse(name, getattr(self, name), "a probability in 0..1")
        for name in ("time_share", "band_share"):
            if not 0 <= getattr(self, name) < 1:
                _refuse(name, getattr(self, name), "a share in 0..1, below 1")
        if self.time_masks < 0:
            _refuse("time_masks", self.time_masks, "a count of 0 or more")


def _refuse(name: str, value: object, wanted: str) -> None:
    raise UsageError(f"The augmentation's {name} is {value}.", f"Give {wanted}.")


@torch.no_grad()
def augment_waveforms(
    waveform: Tensor, length: Tensor, draws: Draws, augmentation: Augmentation, rate: int, longest: int = 0
) -> tuple[Tensor, Tensor]:
    """float32 (B, T) and (B,) int64 lengths -> the same, varied per sample; zero beyond each length.

    Args:
        draws: uniform numbers, one row a sample; streams ``"speed"``, ``"gain"``, ``"noise"``, ``"time"``, ``"band"``.
        rate: samples a second.
        longest: samples that no recording is slowed beyond; 0: no limit.
    """
    with torch.autocast(waveform.device.type, enabled=False):
        if augmentation.speed != (1.0, 1.0):
            waveform, length = change_speed(waveform, length, draws, augmentation.speed, longest)
        else:
            waveform = waveform.clone()
        keep = kept_time(length, waveform.shape[1], draws, augmentation)
        if augmentation.noise > 0:
            add_noise_(waveform, length, draws, augmentation)
        if augmentation.band > 0:
            remove_bands_(waveform, draws, augmentation, rate)
        gain = 10 ** (_between(draws.uniform("gain", 1), augmentation.gain) / 20)
        return waveform.mul_(gain).mul_(keep), length


def change_speed(
    waveform: Tensor, length: Tensor, draws: Draws, bounds: tuple[float, float], longest: int = 0
) -> tuple[Tensor, Tensor]:
    """Each recording read at its own speed, between its samples linearly: (B, T') and its new lengths. Nothing is cut
    off, so labels that lie evenly along it still do. T' follows from T and the slowest possible speed alone, so that no
    device is waited for."""
    width = waveform.shape[1]
    wider = math.ceil(width / bounds[0])
    wider = max(width, min(wider, longest)) if longest else wider
    one = 1 << BITS
    step = (_between(draws.uniform("speed", 1), bounds) * one).round().to(torch.int64)
    last = (length - 1).clamp(min=0)[:, None]
    if longest:
        slowest = -(-last * one // max(1, longest - 1))  # rounded up
        step = torch.maximum(step, slowest.clamp(max=one))
    columns = torch.arange(wider, device=waveform.device)
    place = columns * step
    index = place >> BITS
    fraction = (place & (one - 1)).to(torch.float32).div_(one)
    left = waveform.gather(1, torch.minimum(index, last))
    right = waveform.gather(1, torch.minimum(index.add_(1), last))
    # The last sample that is read stands at or before the recording's own last one.
    changed = ((length - 1) * one // step[:, 0] + 1).clamp(max=wider)
    changed = torch.where(length > 0, changed, length)
    return left.lerp_(right, fraction).mul_(columns < changed[:, None]), changed


def kept_time(length: Tensor, width: int, draws: Draws, augmentation: Augmentation) -> Tensor:
    """(B, T) bool: True inside a recording and outside its masked stretches."""
    place = torch.arange(width, device=length.device)
    keep = place < length[:, None]
    if not augmentation.time_masks or not augmentation.time_share:
        return keep
    u = draws.uniform("time", 2 * augmentation.time_masks).unflatten(1, (augmentation.time_masks, 2))
    span = u[..., 0] * (length[:, None] * (augmentation.time_share / augmentation.time_masks))
    start = u[..., 1] * (length[:, None] - span)
    for first, end in zip(start.unbind(1), (start + span).unbind(1), strict=True):
        keep &= (place < first[:, None]) | (place >= end[:, None])
    return keep


def add_noise_(waveform: Tensor, length: Tensor, draws: Draws, augmentation: Augmentation) -> None:
    """Add noise in place to a drawn share of the samples, so loud that the drawn ratio holds over each recording. A
    silent recording stays silent."""
    u = draws.uniform("noise", 5)
    rows, strength = _drawn(u[:, 0], augmentation.noise)
    if not len(rows):
        return
    u, count = u[rows], length[rows].clamp(min=1)
    # 24 bits of each of two numbers: a stream of its own for each sample, of which only the drawn ones are computed.
    own = (u[:, 1] * 2**24).to(torch.int64) * 2**24 + (u[:, 2] * 2**24).to(torch.int64)
    inside = torch.arange(waveform.shape[1], device=waveform.device) < length[rows, None]
    noise = coloured_noise(own, waveform.shape[1], u[:, 3]).mul_(inside)
    clean = waveform[rows]
    wanted = _power(clean, count) / 10 ** (_between(u[:, 4], augmentation.snr) / 10)
    found = _power(noise, count).clamp(min=1e-20)
    scale = (wanted / found).sqrt() * strength
    waveform[rows] = clean.addcmul_(noise, scale[:, None])


def coloured_noise(own: Tensor, width: int, pink: Tensor) -> Tensor:
    """(B, width) float32 noise about 0.

    Pink noise (1 / f power) is a sum of white noises of which each next one changes half as often (Voss and McCartney;
    Gardner 1978): its beginning does not depend on how much of it is asked for, as a filtered spectrum would.

    Args:
        own: (B,) int64, what each row's noise is made from.
        pink: (B,) its share of pink noise, in 0..1, the rest being white.
    """
    draws = HashDraws(0, 0, own)
    held = draws.uniform(f"octave {OCTAVES}", (width >> OCTAVES) + 1).sub_(0.5)
    for octave in range(OCTAVES - 1, 0, -1):
        fresh = draws.uniform(f"octave {octave}", (width >> octave) + 1).sub_(0.5)
        held = fresh.add_(held.repeat_interleave(2, dim=1)[:, : fresh.shape[1]])
    white = draws.uniform("white", width).sub_(0.5).mul_((1 - pink)[:, None].sqrt())
    return white.addcmul_(held.repeat_interleave(2, dim=1)[:, :width], (pink / OCTAVES)[:, None].sqrt())


def remove_bands_(waveform: Tensor, draws: Draws, augmentation: Augmentation, rate: int) -> None:
    """Remove, in place, a band of frequencies from a drawn share of the samples, by a linear-phase filter of 31 ms.

    The filter is applied through a Fourier transform longer than samples and filter together, which makes it a plain
    convolution: the same for a sample whatever the width it is padded to.
    """
    u = draws.uniform("band", 3)
    rows, strength = _drawn(u[:, 0], augmentation.band)
    if not len(rows):
        return
    u, width = u[rows], waveform.shape[1]
    highest = 2595 * math.log10(1 + rate / 2 / 700)
    span = u[:, 1] * augmentation.band_share * highest
    low = u[:, 2] * (highest - span)
    half = max(1, rate // 64)
    taps = band_filter(_hertz(low) / rate, _hertz(low + span) / rate, half) * strength[:, None]
    size = _fast_size(width + 2 * half)
    chosen = waveform[rows]
    spectrum = torch.fft.rfft(chosen, size)
    spectrum *= torch.fft.rfft(taps, size)
    waveform[rows] = chosen.sub_(torch.fft.irfft(spectrum, size)[:, half : half + width])


def band_filter(low: Tensor, high: Tensor, half: int) -> Tensor:
    """(B, 2 half + 1) taps that pass frequencies between ``low`` and ``high``, (B,) in cycles a sample: a windowed sinc
    (Blackman)."""
    place = torch.arange(-half, half + 1, device=low.device)
    window = torch.blackman_window(2 * half + 3, periodic=False, device=low.device)[1:-1]
    below, above = (2 * edge[:, None] * torch.sinc(2 * edge[:, None] * place) for edge in (low, high))
    return (above - below) * window


def _drawn(u: Tensor, probability: float) -> tuple[Tensor, Tensor]:
    """(row numbers, their strength 0 or 1): on the CPU the drawn rows alone; elsewhere all of them, because counting
    them would wait for the device."""
    chosen = u < probability
    if u.device.type == "cpu":
        rows = chosen.nonzero()[:, 0]
        return rows, torch.ones(len(rows))
    return torch.arange(len(u), device=u.device), chosen.to(torch.float32)


def _power(waveform: Tensor, count: Tensor) -> Tensor:
    return waveform.square().sum(dim=1) / count


def _between(u: Tensor, bounds: tuple[float, float]) -> Tensor:
    return bounds[0] + u * (bounds[1] - bounds[0])


def _hertz(mel: Tensor) -> Tensor:
    """The inverse of the mel scale of O'Shaughnessy (1987)."""
    return 700 * (10 ** (mel / 2595) - 1)


def _fast_size(least: int) -> int:
    """The next size that is a small multiple of a power of two, where Fourier transforms are fast."""
    power = 1 << max(0, (least - 1).bit_length() - 1)
    return next(size for size in (power, power * 5 // 4, power * 3 // 2, 2 * power) if size >= least)
