"""A small stand-in for spoken digits that needs no network: ten words said by a few voices of formulas.

It is there to see the commands work and says nothing about real speech: every voice says a word in one way, and only
pitch, pace, resonances, loudness and noise differ.
"""

from __future__ import annotations

import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from zoo.data.sample_folder import sample_folder
from zoo_audio.sample_voice import RATE, Phone, Voice, speak

VOICES = {
    "ada": Voice(pitch=205, tract=1.14, pace=1.0, breath=0.25),
    "bo": Voice(pitch=110, tract=0.97, pace=0.9, breath=0.1),
    "cy": Voice(pitch=92, tract=0.9, pace=1.2, breath=0.15),
    "dee": Voice(pitch=180, tract=1.08, pace=1.1, breath=0.4),
    "eli": Voice(pitch=130, tract=1.0, pace=1.05, breath=0.2),
    "fay": Voice(pitch=245, tract=1.2, pace=0.85, breath=0.15),
}
SPLITS = {"train": 10, "val": 3}
"""Recordings of each digit by each voice."""

_R, _N, _EE, _OO = (350, 1150, 1600), (280, 1450, 2400), (290, 2250, 2900), (310, 900, 2250)
_S = Phone(0.13, (300, 1750, 2550), hiss=1.0, pitch=3700)
_F = Phone(0.11, (350, 1100, 2300), hiss=0.35, pitch=2700)
_CLOSED = Phone(0.06, (300, 1700, 2500))
_T = Phone(0.035, (350, 1800, 2600), hiss=0.9, pitch=3200)
_I = Phone(0.14, (390, 1000, 2550), (300, 2150, 2700), voice=1.0)
_EYE = Phone(0.24, (750, 1250, 2500), (380, 2050, 2650), voice=1.0)
_END_N = Phone(0.12, _N, voice=0.45)

WORDS: tuple[tuple[Phone, ...], ...] = (
    (Phone(0.1, (300, 1700, 2500), voice=0.3, hiss=0.5, pitch=3600), Phone(0.1, (400, 1900, 2550), voice=1.0),
     Phone(0.08, _R, voice=0.8), Phone(0.2, (520, 950, 2400), (370, 800, 2350), voice=1.0)),
    (Phone(0.09, (300, 650, 2250), voice=0.8), Phone(0.16, (640, 1200, 2450), voice=1.0), _END_N),
    (_CLOSED, _T, Phone(0.26, (330, 1600, 2350), _OO, voice=1.0)),
    (Phone(0.1, (350, 1400, 2500), hiss=0.25, pitch=3200), Phone(0.08, _R, voice=0.8), Phone(0.24, _EE, voice=1.0)),
    (_F, Phone(0.2, (560, 850, 2450), (500, 1000, 2000), voice=1.0), Phone(0.12, (440, 1200, 1600), voice=0.8)),
    (_F, _EYE, Phone(0.1, (300, 1150, 2350), voice=0.35, hiss=0.2, pitch=2700)),
    (_S, Phone(0.1, (400, 1950, 2550), voice=1.0), _CLOSED, Phone(0.03, (350, 1900, 2400), hiss=0.6, pitch=1900), _S),
    (_S, Phone(0.12, (560, 1800, 2500), voice=1.0), Phone(0.06, (320, 1200, 2350), voice=0.4, hiss=0.15, pitch=2600),
     Phone(0.09, (490, 1400, 2450), voice=0.9), _END_N),
    (Phone(0.22, (500, 1900, 2550), (320, 2250, 2750), voice=1.0), _CLOSED, _T),
    (Phone(0.1, _N, voice=0.5), _EYE, _END_N),
)  # fmt: skip
"""How the digits from zero to nine are said."""


def say_digit(digit: int, voice: str, seed: tuple[int, ...]) -> np.ndarray:
    """One recording, int16 (n,) at 8 kHz, half a second or so: a function of its arguments alone."""
    rng = np.random.default_rng(seed)
    before, after = (np.zeros(round(seconds * RATE)) for seconds in rng.uniform(0.01, 0.12, 2))
    sound = np.concatenate([before, speak(WORDS[digit], VOICES[voice], rng), after])
    noise = rng.normal(0, 1, len(sound)) + 2 * np.convolve(rng.normal(0, 1, len(sound)), np.ones(8) / 8, "same")
    sound += noise / np.sqrt((noise**2).mean()) * np.sqrt((sound**2).mean()) * 10 ** (-rng.uniform(12, 30) / 20)
    level = 10 ** (-rng.uniform(1, 18) / 20)
    return np.rint(sound / np.abs(sound).max() * level * 32767).astype(np.int16)


def write_spoken_digits(folder: Path) -> None:
    """Write ``train/{0..9}`` (60 recordings each) and ``val/{0..9}`` (18 each) into a new ``folder``.

    Files are named digit, voice, number. The folder appears whole or not at all.

    Raises:
        DataError: ``folder`` holds something already, or cannot be written.
    """
    with sample_folder(folder) as draft:
        _write(draft)


def _write(folder: Path) -> None:
    jobs = []
    for split_id, (split, count) in enumerate(SPLITS.items()):
        for digit in range(len(WORDS)):
            inner = folder / split / str(digit)
            inner.mkdir(parents=True)
            for voice_id, voice in enumerate(VOICES):
                jobs += [(inner, digit, voice, (split_id, digit, voice_id, number)) for number in range(count)]

    def write(job: tuple[Path, int, str, tuple[int, ...]]) -> None:
        inner, digit, voice, seed = job
        with wave.open(str(inner / f"{digit}_{voice}_{seed[-1]}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(say_digit(digit, voice, seed).astype("<i2").tobytes())

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, jobs))
