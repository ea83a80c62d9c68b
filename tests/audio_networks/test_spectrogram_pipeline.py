"""Recordings put anywhere in their window: whole, per sample, and the same in any batch."""

from __future__ import annotations

import torch
from audio_toys import clips, padded
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.data.draws import HashDraws
from zoo.protocols import Batch
from zoo_audio.augment import Augmentation
from zoo_audio.spectrogram_pipeline import PlacedPipeline, placed, placed_pipeline
from zoo_registry.specs import InputSpec

INPUT = InputSpec(modality="audio", rate=8000, seconds=0.1)  # 800 samples
STILL = Augmentation(speed=(1.0, 1.0), gain=(0.0, 0.0), noise=0.0, time_masks=0, band=0.0)


def batch_of(lengths: list[int], first: int = 0) -> Batch:
    batch = padded(clips(lengths))
    waveform = (batch["waveform"] * 32768).round().to(torch.int16)
    return {**batch, "waveform": waveform, "index": torch.arange(first, first + len(lengths))}


@given(st.lists(st.integers(1, 800), min_size=1, max_size=5), st.floats(0, 0.999999))
@settings(deadline=None, max_examples=30)
def test_moved_and_otherwise_untouched(lengths: list[int], where: float) -> None:
    sounds = clips(lengths)
    waveform, length = placed(*padded(sounds).values(), torch.full((len(lengths),), where), 800)
    assert waveform.shape == (len(lengths), 800)
    for row, sound in enumerate(sounds):
        offset = min(int(torch.tensor(where) * (800 - len(sound) + 1)), 800 - len(sound))
        assert length[row] == offset + len(sound)
        assert torch.equal(waveform[row, offset : length[row]], sound)
        assert not waveform[row, :offset].any()
        assert not waveform[row, length[row] :].any()


def test_every_place_is_reached() -> None:
    draws = HashDraws(0, 0, torch.arange(4000)).uniform("place", 1)[:, 0]
    waveform = torch.ones(4000, 3)
    _, length = placed(waveform, torch.full((4000,), 3), draws, 7)
    counts = torch.bincount(length - 3, minlength=5)
    assert len(counts) == 5
    assert (counts - 800).abs().max() < 120


def test_the_same_alone_and_in_a_batch() -> None:
    made = PlacedPipeline(INPUT, STILL)
    lengths = [100, 700, 800]
    together = made.augment(batch_of(lengths), HashDraws(1, 2, torch.arange(3)))
    assert sorted(together) == ["index", "length", "waveform"]
    assert together["length"].tolist() != lengths
    assert (together["length"] <= 800).all()
    for row, length in enumerate(lengths):
        given = batch_of(lengths)
        one = {name: value[row : row + 1] for name, value in given.items()} | {
            "waveform": given["waveform"][row : row + 1, :length]
        }
        alone = made.augment(one, HashDraws(1, 2, torch.tensor([row])))
        assert torch.equal(alone["waveform"][0], together["waveform"][row])
    other = made.augment(batch_of(lengths), HashDraws(1, 3, torch.arange(3)))
    assert not torch.equal(other["waveform"], together["waveform"])


def test_evaluation_and_whole_recordings_stay_where_they_are() -> None:
    made = placed_pipeline(INPUT)
    batch = made.prepare(batch_of([100, 300]))
    assert batch["length"].tolist() == [100, 300]
    assert batch["waveform"].shape == (2, 300)
    whole = PlacedPipeline(InputSpec(modality="audio", rate=8000), STILL)
    assert whole.augment(batch_of([100, 300]), HashDraws(0, 0, torch.arange(2)))["length"].tolist() == [100, 300]
