"""Which frames are hidden, against a loop; per sample, whatever the batch and the padding."""

from __future__ import annotations

import math
from inspect import getattr_static
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pretraining_toys import RATE, batch_of, config, draws, pipeline, take
from torch import Tensor

from zoo.data.draws import HashDraws
from zoo.protocols import Windowed
from zoo_audio.objectives.spans import at, keyed_view, listed, most_hidden, numbers, span_mask
from zoo_audio.objectives.wavenet import wavenet_view
from zoo_registry.errors import UsageError


def real(counts: list[int], width: int) -> Tensor:
    return torch.arange(width)[None] < torch.tensor(counts)[:, None]


def slowly(frames: int, uniform: list[float], extra: float, start: float, span: int) -> set[int]:
    """The hidden frames of one sample: the places with the lowest numbers begin spans."""
    span = max(1, min(span, frames // 2))
    places = sorted(range(frames - span + 1), key=lambda place: uniform[place])
    count = max(1, math.floor(torch.tensor(start) * frames + extra))
    return {place + i for place in places[:count] for i in range(span)}


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    start=st.floats(0.01, 0.9),
    span=st.integers(1, 12),
    seed=st.integers(0, 2**40),
    more=st.integers(0, 9),
)
def test_spans_equal_a_loop(counts: list[int], start: float, span: int, seed: int, more: int) -> None:
    random = HashDraws(seed, 0, torch.arange(len(counts)))
    width = max(counts)
    mask = span_mask(real(counts, width), random, start, span)
    uniform, extra = random.uniform("span place", width), random.uniform("span count", 1)
    for row, frames in enumerate(counts):
        expected = slowly(frames, uniform[row].tolist(), extra[row], start, span)
        assert set(mask[row].nonzero()[:, 0].tolist()) == expected
        assert 0 < len(expected) <= most_hidden(frames, start, span)
    wider = span_mask(real(counts, width + more), random, start, span)
    assert torch.equal(wider[:, :width], mask)
    assert not wider[:, width:].any()


def test_about_half_of_the_frames_are_hidden() -> None:
    """As the paper says of its settings (49 %)."""
    mask = span_mask(real([500] * 200, 500), HashDraws(0, 0, torch.arange(200)), 0.065, 10)
    assert mask.float().mean() == pytest.approx(0.48, abs=0.02)
    assert mask.float().mean(dim=0)[20:480].std() < 0.05  # everywhere alike


def test_listed_places_hold_every_hidden_frame_in_order() -> None:
    hidden = torch.tensor([[False, True, True, False, True], [False, False, False, True, False]])
    places, count = listed(hidden, 3)
    assert count.tolist() == [3, 1]
    assert places[0].tolist() == [1, 2, 4]
    assert places[1, 0] == 3
    frames = torch.arange(10.0).view(2, 5, 1)
    assert at(frames, places)[0, :, 0].tolist() == [1.0, 2.0, 4.0]


def test_keys_are_a_samples_own() -> None:
    view = keyed_view(pipeline(), config())
    batch = batch_of([0.2, 0.3, 0.1, 0.25])
    whole, again = view.augment(batch, draws(batch)), view.augment(batch, draws(batch, 1))
    assert len(set(whole["key"].tolist())) == 4
    assert not set(whole["key"].tolist()) & set(again["key"].tolist())
    assert torch.equal(view.prepare(batch)["key"], view.prepare(batch)["key"])
    assert not torch.equal(view.prepare(batch)["key"], whole["key"])
    piece = take(batch, slice(2, 4))
    assert torch.equal(view.augment(piece, draws(piece))["key"], whole["key"][2:])
    assert torch.equal(numbers(whole).uniform("x", 5), numbers(whole).uniform("x", 9)[:, :5])
    assert torch.equal(whole["waveform"], pipeline().prepare(batch)["waveform"])


def test_codes_follow_one_another() -> None:
    view = wavenet_view(pipeline(), config())
    batch = view.prepare(batch_of([0.1, 0.05]))
    for row, length in enumerate(batch["length"].tolist()):
        assert torch.equal(batch["target"][row, : length - 1], batch["codes"][row, 1:length])
        assert (batch["target"][row, length - 1 :] == -100).all()


@pytest.mark.parametrize("made", [keyed_view, wavenet_view])
def test_views_are_windowed_as_their_pipeline_is(made: Any) -> None:
    view = made(pipeline(), config())
    assert isinstance(view, Windowed)
    assert [getattr_static(view, name) for name in ("rate", "window", "longest")] == [RATE, RATE // 2, 0]
    assert (view.key, view.shape) == (pipeline().key, pipeline().shape)


@pytest.mark.parametrize("options", [{"start": 0.0}, {"start": 1.5}, {"span": 0}])
def test_senseless_spans_are_refused(options: dict[str, float]) -> None:
    from zoo_audio.objectives.mask_spectrogram import MaskSpectrogramOptions

    with pytest.raises(UsageError):
        MaskSpectrogramOptions(**options)
