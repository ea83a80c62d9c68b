"""Recordings, batches and a store of them for the tests of the audio pipeline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from zoo.data.ragged import ragged
from zoo.data.store import RaggedStore
from zoo.protocols import Batch
from zoo_registry.specs import InputSpec

RATE = 8000


def spec(seconds: float = 0.0, rate: int = RATE) -> InputSpec:
    return InputSpec(modality="audio", rate=rate, seconds=seconds)


def sounds_of(lengths: Sequence[int], seed: int = 0) -> list[np.ndarray]:
    """A hummed, noisy recording of each length, int16."""
    found = []
    for row, length in enumerate(lengths):
        rng = np.random.default_rng([seed, row])
        time = np.arange(length) / RATE
        wave = 0.3 * np.sin(2 * np.pi * rng.uniform(100, 3000) * time) + 0.05 * rng.standard_normal(length)
        found.append((wave.clip(-1, 0.999) * 32768).astype(np.int16))
    return found


def batch_of(sounds: Sequence[np.ndarray], *, width: int = 0, ids: Sequence[int] | None = None) -> Batch:
    """int16 (B, T) as a store gives it, ``width`` samples wide or more."""
    length = torch.tensor([len(sound) for sound in sounds])
    waveform = torch.zeros(len(sounds), max(width, int(length.max())), dtype=torch.int16)
    for row, sound in enumerate(sounds):
        waveform[row, : len(sound)] = torch.from_numpy(sound)
    index = torch.arange(len(sounds)) if ids is None else torch.tensor(list(ids))
    return {"waveform": waveform, "length": length, "index": index, "label": index.clone()}


def store_of(sounds: Sequence[np.ndarray]) -> RaggedStore:
    return RaggedStore(ragged(sounds, np.int16), "toys", len(sounds), [])


def floats(sound: np.ndarray) -> Tensor:
    return torch.from_numpy(sound).float() / 32768
