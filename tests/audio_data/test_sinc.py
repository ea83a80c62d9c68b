from __future__ import annotations

import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.sinc import resample, resample_blocks

COMMON = [(8000, 16000), (44100, 16000), (48000, 16000), (96000, 16000), (22050, 16000), (16000, 44100), (11025, 8000)]


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, n).astype(np.float32)


def reference(waveform: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Of torchaudio in float64, which places its kernel exactly: in float32 the phases are rounded."""
    return torchaudio.functional.resample(torch.from_numpy(waveform).double(), rate, new_rate).numpy()


@pytest.mark.parametrize(("rate", "new_rate"), COMMON)
def test_the_usual_rates_as_torchaudio_hears_them(rate: int, new_rate: int) -> None:
    waveform = noise(rate // 2 + 17)
    found = resample(waveform, rate, new_rate)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, reference(waveform, rate, new_rate), atol=1e-5)
    plain = torchaudio.functional.resample(torch.from_numpy(waveform), rate, new_rate).numpy()
    np.testing.assert_allclose(found, plain, atol=1e-4)


@settings(deadline=None, max_examples=60)
@given(
    rate=st.integers(1, 300), new_rate=st.integers(1, 300), scale=st.sampled_from([1, 100]), n=st.integers(1, 3000),
    cuts=st.lists(st.integers(0, 3000), max_size=6),
)  # fmt: skip
def test_any_rates_and_any_cuts(rate: int, new_rate: int, scale: int, n: int, cuts: list[int]) -> None:
    waveform = noise(n, seed=n)
    found = resample(waveform, rate * scale, new_rate * scale)
    assert len(found) == -(-n * new_rate // rate)
    np.testing.assert_allclose(found, reference(waveform, rate * scale, new_rate * scale), atol=2e-5)
    blocks = np.split(waveform, sorted(min(cut, n) for cut in cuts))
    pieces = [*resample_blocks(blocks, rate * scale, new_rate * scale)]
    np.testing.assert_array_equal(np.concatenate(pieces), found)


def test_blocks_longer_than_a_chunk() -> None:
    waveform = noise(300_000)
    whole = resample(waveform, 44100, 16000)
    for size in (1000, 65_536, 250_000):
        blocks = np.split(waveform, range(size, len(waveform), size))
        np.testing.assert_array_equal(np.concatenate([*resample_blocks(blocks, 44100, 16000)]), whole)


def test_equal_rates_change_nothing() -> None:
    waveform = noise(100)
    np.testing.assert_array_equal(resample(waveform, 16000, 16000), waveform)


def test_a_tone_keeps_its_pitch_and_one_above_the_band_goes() -> None:
    time = np.arange(48000) / 48000
    kept, gone = (np.sin(2 * np.pi * f * time).astype(np.float32) for f in (1000, 12000))
    heard = resample(kept, 48000, 16000)[1000:-1000]
    assert np.argmax(np.abs(np.fft.rfft(heard * np.hanning(len(heard))))) == round(1000 * len(heard) / 16000)
    assert np.abs(resample(gone, 48000, 16000)[1000:-1000]).max() < 2e-3
