"""The front end against torchaudio's, alone and in a batch, loud and quiet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from audio_toys import clips, padded
from hypothesis import given, settings
from hypothesis import strategies as st
from torchaudio.transforms import MelSpectrogram

from zoo_audio.frontend import LogMel
from zoo_registry.errors import UsageError

SIZES = [
    {"rate": 8000, "mels": 64},
    {"rate": 16000, "mels": 80, "f_min": 0.0},
    {"rate": 16000, "mels": 40, "hop": 256, "window": 1024, "n_fft": 1024, "f_min": 60.0, "f_max": 7600.0},
    {"rate": 44100, "mels": 128},
]


@pytest.mark.parametrize("size", SIZES)
def test_powers_are_those_of_torchaudio(size: dict) -> None:
    front = LogMel(**size)
    reference = MelSpectrogram(
        front.rate,
        n_fft=front.n_fft,
        win_length=front.window,
        hop_length=front.hop,
        f_min=size.get("f_min", 20.0),
        f_max=size.get("f_max"),
        n_mels=front.mels,
        pad_mode="constant",
    )
    (sound,) = clips([size["rate"] // 2 + 123])
    found = front.power(sound[None], torch.tensor([len(sound)]))
    expected = reference(sound)[None].transpose(1, 2)
    assert found.shape == expected.shape == (1, len(sound) // front.hop + 1, front.mels)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-8)


def test_no_band_is_empty_and_nothing_is_saved() -> None:
    for rate in (8000, 11025, 16000, 22050, 44100, 48000):
        front = LogMel(rate, mels=80)
        assert (front.filters > 0).any(dim=0).all()
        assert not front.state_dict()


def test_logarithms_with_a_floor_below_the_loudest() -> None:
    front = LogMel(8000, mels=32, range_db=40.0, normalise=False)
    sounds = clips([4000, 2400])
    sounds[0][1500:] *= 1e-4
    logs, counts = front(*padded(sounds).values())
    assert counts.tolist() == front.frames(torch.tensor([4000, 2400])).tolist() == [51, 31]
    for row, sound in enumerate(sounds):
        power = front.power(sound[None], torch.tensor([len(sound)]))[0]
        expected = power.maximum(power.max() * 1e-4).log()
        torch.testing.assert_close(logs[row, : counts[row]], expected, rtol=1e-4, atol=1e-4)
    assert (logs[1, counts[1] :] == 0).all()
    assert logs[0].max() - logs[0].min() == pytest.approx(np.log(1e4), abs=1e-4)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 3000), min_size=1, max_size=4), st.integers(0, 500), st.integers(0, 99))
def test_a_clip_alone_and_in_a_batch(lengths: list[int], more: int, seed: int) -> None:
    front = LogMel(8000, mels=24)
    sounds = clips(lengths, seed)
    logs, counts = front(*padded(sounds, more).values())
    for row, sound in enumerate(sounds):
        alone, count = front(*padded([sound]).values())
        assert count[0] == counts[row] == len(sound) // front.hop + 1
        torch.testing.assert_close(logs[row, : counts[row]], alone[0], atol=1e-4, rtol=0)
        assert (logs[row, counts[row] :] == 0).all()


def test_what_lies_beyond_a_length_is_not_heard() -> None:
    front = LogMel(8000, mels=24)
    batch = padded(clips([2000, 1000]))
    expected, _ = front(**batch)
    batch["waveform"][1, 1000:] = 0.7
    found, _ = front(**batch)
    assert torch.equal(found, expected)


def test_normalised_over_real_frames_and_blind_to_gain() -> None:
    front = LogMel(8000, mels=24)
    batch = padded(clips([4000, 1600]))
    logs, counts = front(**batch)
    for row, count in enumerate(counts.tolist()):
        assert logs[row, :count].mean().abs() < 1e-4
        assert logs[row, :count].std(correction=0) == pytest.approx(1.0, abs=1e-2)
    quiet, _ = front(batch["waveform"] * 0.01, batch["length"])
    torch.testing.assert_close(quiet, logs, atol=1e-3, rtol=0)


def test_silence_is_finite_and_flat() -> None:
    logs, _ = LogMel(8000, mels=24)(torch.zeros(2, 1000), torch.tensor([1000, 1]))
    assert logs.abs().max() < 1e-3
    logs, _ = LogMel(8000, mels=24, normalise=False)(torch.zeros(1, 1000), torch.tensor([1000]))
    assert torch.isfinite(logs).all()


def test_gradients_reach_the_waveform() -> None:
    batch = padded(clips([900]))
    batch["waveform"].requires_grad_()
    logs, _ = LogMel(8000, mels=24)(**batch)
    logs.square().sum().backward()
    grad = batch["waveform"].grad
    assert grad is not None
    assert torch.isfinite(grad).all()
    assert grad.abs().max() > 0


def test_half_precision_does_not_reach_the_powers() -> None:
    front, batch = LogMel(8000, mels=24), padded(clips([900]))
    expected, _ = front(**batch)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = front(**batch)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("wrong", [{"f_max": 5000.0}, {"f_min": 4000.0}, {"window": 201}, {"n_fft": 128}])
def test_sizes_that_do_not_fit(wrong: dict) -> None:
    with pytest.raises(UsageError):
        LogMel(8000, mels=24, **wrong)


def test_exported_with_any_batch_and_length(tmp_path: Path) -> None:
    front = LogMel(8000, mels=24).eval()
    batch, time = torch.export.Dim("batch"), torch.export.Dim("time")
    program = torch.onnx.export(
        front,
        (torch.zeros(2, 4000), torch.full((2,), 4000)),
        dynamo=True,
        input_names=["waveform", "length"],
        dynamic_shapes=({0: batch, 1: time}, {0: batch}),
        opset_version=20,
        verbose=False,
    )
    program.save(str(tmp_path / "front.onnx"))
    session = onnxruntime.InferenceSession(tmp_path / "front.onnx")
    for lengths in ([5000, 1, 801], [799]):
        sounds = clips(lengths, 3)
        sounds[0][100:500] *= 1e-5
        batch_of = padded(sounds)
        logs, counts = front(**batch_of)
        found = session.run(None, {name: value.numpy() for name, value in batch_of.items()})
        np.testing.assert_allclose(found[0], logs.numpy(), atol=1e-3)
        assert found[1].tolist() == counts.tolist()
