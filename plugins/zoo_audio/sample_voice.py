"""A voice of formulas: a source (glottal pulses and noise) through the resonances of a vocal tract (Fant, Acoustic
Theory of Speech Production, 1960; Klatt, Software for a cascade/parallel formant synthesizer, 1980)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RATE = 8000
"""Samples a second."""

_HOP = 40
_WINDOW = 160
_FFT = 320
_BANDWIDTHS = (70.0, 100.0, 150.0, 250.0)
_FOURTH = 3400.0


@dataclass(frozen=True)
class Phone:
    """A stretch of speech.

    Attributes:
        seconds: at an ordinary pace.
        formants: Hz of the first three resonances at its start, of an ordinary tract.
        glide: the same at its end; empty: they stay.
        voice: loudness of the glottal pulses.
        hiss: loudness of the noise of a narrow place.
        pitch: Hz that the hiss is centred on.
    """

    seconds: float
    formants: tuple[float, float, float]
    glide: tuple[float, ...] = ()
    voice: float = 0.0
    hiss: float = 0.0
    pitch: float = 3000.0


@dataclass(frozen=True)
class Voice:
    """Who speaks.

    Attributes:
        pitch: Hz of the glottal pulses.
        tract: factor on all resonances: short tracts have high ones.
        pace: factor on all lengths.
        breath: share of noise in the voice.
    """

    pitch: float
    tract: float
    pace: float
    breath: float


def speak(phones: Sequence[Phone], voice: Voice, rng: np.random.Generator) -> np.ndarray:
    """The phones one after another, float (n,) with a peak of 1; no two utterances are the same.

    Args:
        rng: varies pitch, melody, pace and every resonance a little.
    """
    lengths = np.array([phone.seconds for phone in phones]) * voice.pace * rng.uniform(0.8, 1.25, len(phones))
    ends = np.cumsum(np.maximum(lengths, 0.015))
    count = round(ends[-1] * RATE)
    frames = np.arange(0, count + _HOP, _HOP) / RATE
    track = _tracks(phones, ends, frames)
    track[:, :3] *= voice.tract * rng.normal(1, 0.035, 3)
    pulses, noise = _pulses(count, voice.pitch * rng.normal(1, 0.06), rng), rng.normal(0, 1, count)
    voiced = pulses * (1 - voice.breath) + 0.3 * voice.breath * noise
    spectra = track[:, 3, None] * _tract(track[:, :3], voice.tract)
    hissing = 0.35 * track[:, 4, None] * _narrow(track[:, 5] * np.sqrt(voice.tract))
    sound = _filtered(voiced, spectra) + _filtered(rng.permutation(noise), hissing)
    return sound / np.abs(sound).max()


def _tracks(phones: Sequence[Phone], ends: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """(frames, 6): three formants, voice, hiss and its pitch, each sliding from one phone to the next."""
    starts = np.concatenate([[0.0], ends[:-1]])
    # A phone is held between a tenth and nine tenths of its length, and slides in between: tongues are not quick.
    slack = 0.1 * (ends - starts)
    times = np.stack([starts + slack, ends - slack], axis=1).ravel()
    values = []
    for phone in phones:
        rest = (phone.voice, phone.hiss, phone.pitch)
        values += [(*phone.formants, *rest), (*(phone.glide or phone.formants), *rest)]
    track = np.stack([np.interp(frames, times, column) for column in np.array(values).T], axis=1)
    # Nothing begins or ends with a click.
    track[:, 3:5] *= np.clip(np.minimum(frames, ends[-1] - frames) / 0.015, 0, 1)[:, None]
    return track


def _pulses(count: int, pitch: float, rng: np.random.Generator) -> np.ndarray:
    """Glottal pulses with a falling melody and a little jitter."""
    time = np.linspace(0, 1, count)
    melody = pitch * (1 + rng.uniform(-0.05, 0.25) * (0.5 - time) + 0.03 * np.sin(2 * np.pi * time * rng.uniform(1, 3)))
    phase = np.cumsum(melody / RATE * (1 + rng.normal(0, 0.01, count)))
    pulses = np.diff(np.floor(phase), prepend=0.0)
    # A pulse falls off by 12 dB an octave; two poles make it so, and a short answer is all that is left of them.
    shape = 0.9 ** np.arange(60) * np.arange(1, 61)
    shape -= shape.mean()
    return np.convolve(pulses, shape)[:count]


def _tract(formants: np.ndarray, tract: float) -> np.ndarray:
    """(frames, bins) complex: four resonances in a row, each with gain 1 at 0 Hz."""
    z = np.exp(-2j * np.pi * np.arange(_FFT // 2 + 1) / _FFT)
    answer = np.ones((len(formants), len(z)), complex)
    fourth = np.full(len(formants), min(_FOURTH * tract, 3800.0))
    for centre, width in zip([*formants.T, fourth], _BANDWIDTHS, strict=True):
        radius = np.exp(-np.pi * width / RATE)
        first = -2 * radius * np.cos(2 * np.pi * np.minimum(centre, 3900.0) / RATE)[:, None]
        answer *= (1 + first + radius**2) / (1 + first * z + radius**2 * z**2)
    return answer


def _narrow(pitch: np.ndarray) -> np.ndarray:
    """(frames, bins): a broad hill around the pitch of a hiss."""
    frequency = np.arange(_FFT // 2 + 1) * RATE / _FFT
    return np.exp(-0.5 * ((frequency - np.minimum(pitch, 3800.0)[:, None]) / 600.0) ** 2)


def _filtered(sound: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """The sound (n,) through a filter that changes from frame to frame, by overlapping windows."""
    window = np.hanning(_WINDOW + 1)[:-1] * 2 * _HOP / _WINDOW
    padded = np.concatenate([np.zeros(_WINDOW // 2), sound, np.zeros(2 * _WINDOW)])
    out = np.zeros(len(padded) + _FFT)
    starts = np.arange(len(answers)) * _HOP
    pieces = np.stack([padded[start : start + _WINDOW] for start in starts]) * window
    filtered = np.fft.irfft(np.fft.rfft(pieces, _FFT) * answers, _FFT)
    for start, piece in zip(starts, filtered, strict=True):
        out[start : start + _FFT] += piece
    return out[_WINDOW // 2 : _WINDOW // 2 + len(sound)]
