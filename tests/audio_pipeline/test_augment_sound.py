"""The on-device augmentation of sound against slow references, and what each draw may depend on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sound_batches import RATE, batch_of, floats, sounds_of, spec
from torch import Tensor

from zoo.data.draws import HashDraws
from zoo.protocols import Batch
from zoo_audio import augment
from zoo_audio.augment import Augmentation, add_noise_, band_filter, change_speed, coloured_noise, kept_time
from zoo_audio.pipeline import AudioPipeline
from zoo_registry.errors import UsageError

OFF: dict[str, Any] = {"speed": (1.0, 1.0), "gain": (0.0, 0.0), "noise": 0.0, "time_masks": 0, "band": 0.0}
LENGTHS = (3000, 2200, 777, 1500)


class Numbers:
    """The same numbers for every sample, by stream."""

    def __init__(self, batch: int, **streams: list[float]) -> None:
        self.batch, self.streams = batch, streams

    def uniform(self, stream: str, size: int) -> Tensor:
        return torch.tensor([self.streams[stream]] * self.batch, dtype=torch.float32)[:, :size]


def augmented(batch: Batch, augmentation: Augmentation, *, seed: int = 3, epoch: int = 1, seconds: float = 0) -> Batch:
    return AudioPipeline(spec(seconds), augmentation).augment(batch, HashDraws(seed, epoch, batch["index"]))


def test_with_nothing_to_vary_it_is_the_evaluation_transform() -> None:
    batch = batch_of(sounds_of(LENGTHS))
    ours, plain = augmented(batch, Augmentation(**OFF)), AudioPipeline(spec()).prepare(batch)
    assert set(ours) == set(plain) == set(batch)
    for name in plain:
        torch.testing.assert_close(ours[name], plain[name], rtol=0, atol=0)


@pytest.mark.parametrize("ids", [[0, 1, 2, 3], [90, 7, 11, 3]])
def test_a_sample_is_the_same_alone_padded_and_among_others(ids: list[int]) -> None:
    sounds = sounds_of(LENGTHS)
    for changes in ({}, {"noise": 1.0, "band": 1.0}, {"speed": (0.7, 1.4)}):
        augmentation = Augmentation(**changes)
        together = augmented(batch_of(sounds, ids=ids), augmentation)
        for row, sound in enumerate(sounds):
            for width in (0, 3001, 4096, 9000):
                alone = augmented(batch_of([sound], ids=[ids[row]], width=width), augmentation)
                length = int(alone["length"][0])
                assert length == int(together["length"][row])
                one, other = alone["waveform"][0, :length], together["waveform"][row, :length]
                torch.testing.assert_close(one, other, rtol=1e-4, atol=2e-6)
                assert not alone["waveform"][0, length:].any()


def test_it_is_a_function_of_seed_epoch_and_row() -> None:
    batch = batch_of(sounds_of((2000,) * 4))
    first = augmented(batch, Augmentation())["waveform"]
    assert torch.equal(first, augmented(batch, Augmentation())["waveform"])
    assert not torch.allclose(first, augmented(batch, Augmentation(), epoch=2)["waveform"])
    assert not torch.allclose(first, augmented(batch, Augmentation(), seed=4)["waveform"])
    same = batch_of([sounds_of((2000,))[0]] * 3)
    varied = augmented(same, Augmentation())["waveform"]
    assert len({tuple(row[:50].tolist()) for row in varied}) == 3


@given(st.lists(st.integers(0, 400), min_size=1, max_size=4), st.integers(0, 5), st.booleans())
def test_the_result_is_finite_and_silent_beyond_its_length(lengths: list[int], seed: int, silent: bool) -> None:
    sounds = [np.zeros(n, np.int16) if silent else one for n, one in zip(lengths, sounds_of(lengths), strict=True)]
    found = augmented(batch_of(sounds, width=1), Augmentation(noise=1.0, band=1.0), seed=seed)
    waveform, length = found["waveform"], found["length"]
    assert waveform.dtype == torch.float32
    assert length.dtype == torch.int64
    assert torch.isfinite(waveform).all()
    assert waveform.shape[1] <= math.ceil(max(1, *lengths) / 0.9)
    for row, before in enumerate(lengths):
        assert before / 1.1 - 1 <= length[row] <= before / 0.9 + 1
        assert not waveform[row, length[row] :].any()
        assert not silent or not waveform[row].any()


@pytest.mark.parametrize("bounds", [(0.9, 1.1), (0.5, 0.5), (2.0, 2.0), (1.0, 1.0)])
def test_speed_reads_between_the_samples(bounds: tuple[float, float]) -> None:
    sounds = sounds_of(LENGTHS)
    batch = AudioPipeline(spec()).prepare(batch_of(sounds))
    draws = HashDraws(5, 0, batch["index"])
    found, length = change_speed(batch["waveform"], batch["length"], draws, bounds)
    for row, sound in enumerate(sounds):
        factor = bounds[0] + float(draws.uniform("speed", 1)[row]) * (bounds[1] - bounds[0])
        wave = floats(sound).double().numpy()
        places = np.arange(int((len(wave) - 1) / factor + 1e-9) + 1) * factor
        assert abs(int(length[row]) - len(places)) <= 1
        count = min(int(length[row]), len(places))
        wanted = np.interp(places[:count], np.arange(len(wave)), wave)
        # A factor is rounded to 2**-17, which moves the last place by a fiftieth of a sample.
        np.testing.assert_allclose(found[row, :count].numpy(), wanted, atol=0.05)
        np.testing.assert_allclose(found[row, :50].numpy(), wanted[:50], atol=1e-3)


def test_speed_moves_the_pitch() -> None:
    tone = (np.sin(2 * np.pi * 500 * np.arange(RATE) / RATE) * 20000).astype(np.int16)
    found = augmented(batch_of([tone]), Augmentation(**{**OFF, "speed": (1.25, 1.25)}))
    length = int(found["length"][0])
    assert length == pytest.approx(RATE / 1.25, abs=1)
    peak = int(torch.fft.rfft(found["waveform"][0, :length]).abs().argmax()) * RATE / length
    assert peak == pytest.approx(625, abs=2)


def test_no_recording_is_slowed_beyond_the_window() -> None:
    """Nothing is cut off: a full window keeps its speed, others grow to a window at most."""
    batch = batch_of(sounds_of((1000, 600, 300)))
    found = augmented(batch, Augmentation(**{**OFF, "speed": (0.5, 0.5)}), seconds=1000 / RATE)
    assert found["waveform"].shape[1] == 1000
    assert found["length"].tolist() == [1000, 999, 599]
    assert torch.equal(found["waveform"][0], floats(sounds_of((1000,))[0]))
    sound = batch["waveform"][1, :600].double().numpy() / 32768
    wanted = np.interp(np.arange(999) * 599 / 999, np.arange(600), sound)
    np.testing.assert_allclose(found["waveform"][1, :999].numpy(), wanted, atol=0.05)
    fast = augmented(batch, Augmentation(**{**OFF, "speed": (2.0, 2.0)}), seconds=1000 / RATE)
    assert fast["length"].tolist() == [500, 300, 150]


@pytest.mark.parametrize("snr", [0.0, 10.0, 30.0])
@pytest.mark.parametrize("pink", [0.0, 1.0])
def test_noise_stands_at_the_drawn_ratio_over_the_real_samples(snr: float, pink: float) -> None:
    sounds = sounds_of(LENGTHS)
    batch = AudioPipeline(spec()).prepare(batch_of(sounds))
    noisy = batch["waveform"].clone()
    draws = Numbers(4, noise=[0.0, 0.3, 0.7, pink, 0.5])
    add_noise_(noisy, batch["length"], draws, Augmentation(noise=1.0, snr=(snr, snr)))
    for row, sound in enumerate(sounds):
        clean, added = batch["waveform"][row], noisy[row] - batch["waveform"][row]
        assert not added[len(sound) :].any()
        ratio = 10 * math.log10(float(clean.square().sum() / added.square().sum()))
        assert ratio == pytest.approx(snr, abs=0.02)


def test_noise_is_white_to_pink() -> None:
    """Power by octave: white noise has twice as much in each next one, pink noise as much."""
    width, rows = 1 << 14, 40
    slopes = []
    for pink in (0.0, 0.5, 1.0):
        noise = coloured_noise(torch.arange(rows), width, torch.full((rows,), pink))
        power = torch.fft.rfft(noise.double()).abs().square().mean(dim=0)
        octaves = torch.stack([power[width >> k + 1 : width >> k].mean() for k in range(2, 7)])
        slopes.append(float(torch.log2(octaves[:-1] / octaves[1:]).mean()))
        assert float(noise.mean().abs()) < 0.01
    assert slopes[0] == pytest.approx(0, abs=0.1)
    assert slopes[2] == pytest.approx(-1, abs=0.25)
    assert slopes[0] > slopes[1] > slopes[2]


def test_noises_of_samples_are_unlike() -> None:
    noise = coloured_noise(torch.tensor([1, 2, 2**47 + 1]), 4000, torch.zeros(3))
    assert np.abs(np.corrcoef(noise.numpy()) - np.eye(3)).max() < 0.06


def test_probabilities_are_shares_of_samples() -> None:
    sounds = [sounds_of((300,))[0]] * 400
    batch = batch_of(sounds)
    plain = AudioPipeline(spec()).prepare(batch)["waveform"]
    for name in ("noise", "band"):
        found = augmented(batch, Augmentation(**{**OFF, name: 0.3}))["waveform"]
        assert float((found != plain).any(dim=1).float().mean()) == pytest.approx(0.3, abs=0.07)


def test_devices_that_are_not_waited_for_compute_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """They change all rows, by a strength of 0 or 1."""
    batch = batch_of(sounds_of(LENGTHS * 4))
    chosen = augmented(batch, Augmentation())
    monkeypatch.setattr(augment, "_drawn", lambda u, share: (torch.arange(len(u)), (u < share).float()))
    every = augmented(batch, Augmentation())
    torch.testing.assert_close(every["waveform"], chosen["waveform"], rtol=1e-5, atol=1e-6)
    assert torch.equal(every["length"], chosen["length"])


@pytest.mark.gpu
def test_a_gpu_computes_the_same() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    batch = batch_of(sounds_of(LENGTHS * 4))
    here = augmented(batch, Augmentation())
    there = augmented({name: tensor.cuda() for name, tensor in batch.items()}, Augmentation())
    torch.testing.assert_close(there["waveform"].cpu(), here["waveform"], rtol=1e-3, atol=1e-4)
    assert torch.equal(there["length"].cpu(), here["length"])


def test_gain_is_in_decibels() -> None:
    sounds = sounds_of(LENGTHS)
    batch = batch_of(sounds)
    plain = AudioPipeline(spec()).prepare(batch)["waveform"]
    found = augmented(batch, Augmentation(**{**OFF, "gain": (-20.0, -20.0)}))["waveform"]
    torch.testing.assert_close(found, plain / 10)
    varied = augmented(batch, Augmentation(**{**OFF, "gain": (-6.0, 6.0)}))["waveform"]
    factors = (varied.abs().sum(dim=1) / plain.abs().sum(dim=1)).tolist()
    assert len({round(factor, 4) for factor in factors}) == 4
    assert all(10 ** (-6 / 20) <= factor <= 10 ** (6 / 20) for factor in factors)


@given(st.integers(1, 4), st.floats(0.01, 0.9), st.integers(0, 20))
def test_time_masks_cover_no_more_than_their_share(masks: int, share: float, seed: int) -> None:
    length = torch.tensor([1000, 400, 37, 1, 0])
    keep = kept_time(
        length, 1100, HashDraws(seed, 0, torch.arange(5)), Augmentation(time_masks=masks, time_share=share)
    )
    for row, count in enumerate(length.tolist()):
        assert not keep[row, count:].any()
        gone = count - int(keep[row].sum())
        assert gone <= share * count + masks
        runs = int((keep[row, 1:count] != keep[row, : count - 1]).sum()) if count > 1 else 0
        assert runs <= 2 * masks


def test_time_masks_fall_anywhere() -> None:
    keep = kept_time(torch.full((400,), 500), 500, HashDraws(0, 0, torch.arange(400)), Augmentation(time_share=0.3))
    share = 1 - keep.float().mean(dim=0)
    assert 0.05 < float(share[100:400].min()) <= float(share[100:400].max()) < 0.35
    assert float(share[2:10].mean()) > 0
    assert 0.1 < float(share.mean()) < 0.2  # half of 0.3, where two masks do not meet


def test_a_band_is_removed_and_the_rest_kept() -> None:
    """A tone inside the band goes, one outside it stays; the same as a plain convolution with the taps."""
    rate, share = 16000, 0.3
    low_mel = 0.4 * (1 - share) * 2595 * math.log10(1 + rate / 2 / 700)
    high_mel = low_mel + share * 2595 * math.log10(1 + rate / 2 / 700)
    low, high = (700 * (10 ** (mel / 2595) - 1) for mel in (low_mel, high_mel))
    time = np.arange(rate) / rate
    tones = [low - 150, (low + high) / 2, high + 150]
    sounds = [(np.sin(2 * np.pi * tone * time) * 20000).astype(np.int16) for tone in tones]
    draws = Numbers(3, band=[0.0, 1.0, 0.4], gain=[0.5])
    pipeline = AudioPipeline(spec(rate=rate), Augmentation(**{**OFF, "band": 1.0, "band_share": share}))
    found = pipeline.augment(batch_of(sounds), draws)["waveform"]
    plain = pipeline.prepare(batch_of(sounds))["waveform"]
    inner = slice(400, -400)
    power = (found[:, inner].square().mean(dim=1) / plain[:, inner].square().mean(dim=1)).tolist()
    assert power[0] > 0.9
    assert power[1] < 1e-4
    assert power[2] > 0.9
    half = rate // 64
    taps = band_filter(torch.tensor([low / rate]), torch.tensor([high / rate]), half)
    slow = [one - np.convolve(one, taps[0].double().numpy(), mode="same") for one in plain.double().numpy()]
    np.testing.assert_allclose(found.numpy(), np.stack(slow), atol=2e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"speed": (1.1, 0.9)},
        {"speed": (0.0, 1.0)},
        {"gain": (3.0, -3.0)},
        {"gain": (0.0, float("nan"))},
        {"snr": (float("-inf"), 0.0)},
        {"noise": 1.5},
        {"band": -0.1},
        {"band": float("nan")},
        {"time_share": 1.0},
        {"band_share": -0.2},
        {"time_masks": -1},
    ],
)
def test_ranges_without_sense_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(changes))):
        Augmentation(**changes)
