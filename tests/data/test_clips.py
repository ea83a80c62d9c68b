"""Windows that cover recordings, crops that vary with the epoch, and what neither may depend on."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sound_batches import sounds_of, store_of

from zoo.data.batches import Eval, Train
from zoo.data.clips import Crops, Windows, no_longer_than
from zoo.data.dataset import Table
from zoo.data.ragged import ragged
from zoo.data.store import LiveStore, build_store
from zoo.protocols import IGNORE, RAGGED, Batch, Draws
from zoo.windowing import average, window_starts, windows_of

LENGTHS = [100, 950, 300, 301, 299, 20, 600, 1801, 450, 30, 310]
WINDOW = 300
SIZES = [{"batch_size": 4}, {"batch_size": 4, "batch_tokens": 900}]


class Counted:
    """A pipeline of recordings that are arrays already; it counts what it decodes."""

    modality = "audio"
    input_name = "waveform"
    key = "counted"
    shape = (RAGGED,)
    dtype = np.dtype(np.int16)

    def __init__(self) -> None:
        self.decoded: list[int] = []

    def decode(self, item: Any) -> np.ndarray:
        self.decoded.append(len(item) // 2)
        return np.frombuffer(item, np.int16)

    def augment(self, batch: Batch, draws: Draws) -> Batch:
        return {**batch, "drawn": draws.uniform("augment", 1)}

    def prepare(self, batch: Batch) -> Batch:
        return batch

    def describe(self) -> dict[str, Any]:
        return {}


def train_of(sizes: dict[str, int], seed: int = 3, store: Any = None) -> Train:
    labels = np.arange(len(LENGTHS))
    return Train(store or Crops(store_of(sounds_of(LENGTHS)), WINDOW), labels, Counted(), seed=seed, **sizes)


@given(st.integers(1, 5000), st.integers(1, 700))
def test_windows_cover_a_recording_evenly_to_its_end(length: int, window: int) -> None:
    starts = window_starts(length, window)
    array = np.arange(length)
    pieces = windows_of(array, window)
    assert [piece[0] for piece in pieces] == starts.tolist()
    if length <= window:
        assert len(pieces) == 1
        assert pieces[0] is array
        return
    assert all(len(piece) == window for piece in pieces)
    assert pieces[-1][-1] == length - 1
    assert set(np.concatenate(pieces).tolist()) == set(range(length))
    hops = np.diff(starts)
    assert hops.max() - hops.min() <= 1
    assert len(pieces) == -(-length // window)  # no more than it takes
    assert all(np.shares_memory(piece, array) for piece in pieces)


def test_no_window_means_whole_recordings() -> None:
    array = np.arange(9)
    assert windows_of(array, 0)[0] is array
    assert windows_of(array[:0], 4)[0].shape == (0,)
    assert len(Windows(store_of(sounds_of(LENGTHS)), 0)) == len(LENGTHS)


def test_average_is_the_mean_of_each_owner() -> None:
    rows = [np.array(one, np.float32) for one in ([1, 2], [5, 0], [3, 4], [8, 9])]
    found = average(rows, [7, 2, 7, 0])
    assert [row.tolist() for row in found] == [[2, 3], [5, 0], [8, 9]]
    assert {row.dtype for row in found} == {np.dtype(np.float32)}
    assert found[1] is rows[1]


def test_an_average_of_logits_decides_as_one_of_log_probabilities() -> None:
    rows = np.random.default_rng(0).normal(0, 4, (6, 5))
    spread = rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))
    (logits,), (logs,) = average(rows, [0] * 6), average(spread, [0] * 6)
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(), np.exp(logs) / np.exp(logs).sum())


def test_rows_of_windows_are_the_windows() -> None:
    sounds = sounds_of(LENGTHS)
    windows = Windows(store_of(sounds), WINDOW)
    wanted = [(row, piece) for row, sound in enumerate(sounds) for piece in windows_of(sound, WINDOW)]
    assert len(windows) == len(wanted)
    assert windows.owner.tolist() == [row for row, _ in wanted]
    assert windows.lengths.tolist() == [len(piece) for _, piece in wanted]
    assert windows.kept.tolist() == list(range(len(wanted)))
    for found, (_, piece) in zip(windows.each(range(len(wanted))), wanted, strict=True):
        assert np.array_equal(found, piece)
    chosen = np.array([len(wanted) - 1, 0, 3])
    taken = windows.take(chosen)
    assert taken.shape == (3, WINDOW)
    for row, number in zip(taken, chosen, strict=True):
        piece = wanted[number][1]
        assert np.array_equal(row[: len(piece)], piece)
        assert not row[len(piece) :].any()


def test_keys_tell_windows_apart() -> None:
    store = store_of(sounds_of(LENGTHS))
    keys = [store.key, Windows(store, 300).key, Windows(store, 301).key, no_longer_than(store, 300).key]
    assert len(set(keys)) == 4


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=12), st.integers(1, 500), st.integers(0, 9))
def test_crops_lie_inside_their_recordings(lengths: list[int], window: int, epoch: int) -> None:
    crops = Crops(store_of([np.arange(length, dtype=np.int16) for length in lengths]), window)
    assert crops.lengths.tolist() == [min(length, window) for length in lengths]
    for length, piece in zip(lengths, crops.at(1, epoch).each(range(len(crops))), strict=True):
        assert len(piece) == min(length, window)
        assert piece[0] >= 0
        assert piece[-1] < length
        assert (np.diff(piece) == 1).all()


def test_crops_begin_anywhere_and_follow_seed_epoch_and_row() -> None:
    crops = Crops(store_of([np.zeros(110, np.int16)] * 2000), 100)
    first = crops.at(0, 0).first
    counts = np.bincount(first, minlength=11)
    assert len(counts) == 11
    assert counts.min() > 120  # of 182 expected
    assert np.array_equal(first, crops.at(0, 0).first)
    assert not np.array_equal(first, crops.at(0, 1).first)
    assert not np.array_equal(first, crops.at(1, 0).first)


def test_labels_follow_their_recordings() -> None:
    store = store_of([np.zeros(length, np.int16) for length in (1000, 250)])
    windows = Windows(store, 400)
    assert windows.labels(np.array([[1, 2], [3, 4]])).tolist() == [[1, 2]] * 3 + [[3, 4]]
    # One label every hundred samples; 700..999 has the last three.
    ticks = windows.labels(ragged([range(10), [10, 11, 12]], np.int64, fill=IGNORE))
    assert [row.tolist() for row in ticks.each(range(4))] == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9], [10, 11, 12]]
    assert ticks.take(np.array([0, 3])).tolist() == [[0, 1, 2, 3], [10, 11, 12, IGNORE]]


def test_what_is_too_long_to_be_whole_is_left_out() -> None:
    sounds = sounds_of(LENGTHS)
    short = no_longer_than(store_of(sounds), 300)
    rows = [row for row, length in enumerate(LENGTHS) if length <= 300]
    assert short.owner.tolist() == rows
    assert all(np.array_equal(a, sounds[b]) for a, b in zip(short.each(range(len(rows))), rows, strict=True))


@pytest.mark.parametrize("sizes", SIZES)
def test_the_stream_of_crops_goes_on_the_same_from_any_step(sizes: dict[str, int]) -> None:
    """Crops and augmentation are functions of (seed, epoch, row): a stream begun at step k is the rest of the whole."""

    def batches(start: int, seed: int = 3) -> list[dict[str, list]]:
        train = train_of(sizes, seed)
        stop = 3 * train.steps_per_epoch + 1
        stream = enumerate(train.stream(start, stop), start)
        found = [train.transform(batch, step // train.steps_per_epoch) for step, batch in stream]
        return [{name: value.tolist() for name, value in batch.items()} for batch in found]

    whole = batches(0)
    for start in range(len(whole)):
        assert batches(start) == whole[start:]
    assert batches(0, seed=4) != whole


@pytest.mark.parametrize("sizes", SIZES)
def test_batches_of_crops_hold_what_their_index_says(sizes: dict[str, int]) -> None:
    sounds, seen = sounds_of(LENGTHS), {}
    train = train_of(sizes)
    steps = 2 * train.steps_per_epoch
    for step, batch in enumerate(train.stream(0, steps)):
        crops = Crops(store_of(sounds), WINDOW).at(3, step // train.steps_per_epoch)
        assert batch["waveform"].shape == (len(batch["index"]), int(batch["length"].max()))
        assert batch["waveform"].shape[1] <= WINDOW
        assert torch.equal(batch["label"], batch["index"])
        for row, index in enumerate(batch["index"].tolist()):
            length = min(LENGTHS[index], WINDOW)
            first = int(crops.first[index])
            assert int(batch["length"][row]) == length
            assert batch["waveform"][row, :length].tolist() == sounds[index][first : first + length].tolist()
            seen.setdefault(index, set()).add(first)
    assert any(len(starts) > 1 for starts in seen.values())


@pytest.mark.parametrize("world", [1, 2])
def test_ranks_share_crops(world: int) -> None:
    train = train_of({"batch_size": 4})
    whole = list(train.stream(0, 3))
    shares = [list(train_of({"batch_size": 4}).stream(0, 3, rank, world)) for rank in range(world)]
    for step, batch in enumerate(whole):
        for rank in range(world):
            one = shares[rank][step]
            assert torch.equal(one["index"], batch["index"][rank::world])
            longest = one["waveform"].shape[1]
            assert torch.equal(one["waveform"], batch["waveform"][rank::world, :longest])


def test_evaluation_sees_each_window_once() -> None:
    windows = Windows(store_of(sounds_of(LENGTHS)), WINDOW)
    batches = list(Eval(windows, windows.labels(np.arange(len(LENGTHS))), Counted(), batch_size=5).stream())
    rows = torch.cat([batch["index"] for batch in batches])
    assert sorted(rows.tolist()) == list(range(len(windows)))
    labels = torch.cat([batch["label"] for batch in batches])
    assert labels.tolist() == windows.owner[rows.numpy()].tolist()


def test_what_is_decoded_on_demand_gives_the_same_parts() -> None:
    sounds = sounds_of(LENGTHS)
    table, pipeline = Table({"input": [sound.tobytes() for sound in sounds]}), Counted()
    live = build_store(table, pipeline, cache_limit=0, say=lambda line: None)
    assert isinstance(live, LiveStore)
    kept = store_of(sounds)
    one, other = Windows(live, WINDOW), Windows(kept, WINDOW)
    rows = np.random.default_rng(0).permutation(len(one))
    pipeline.decoded.clear()
    assert np.array_equal(one.take(rows), other.take(rows))
    assert sorted(pipeline.decoded) == sorted(LENGTHS)  # each recording once, however many of its windows are asked for
    for epoch in range(2):
        a, b = (Crops(store, WINDOW).at(0, epoch).take(np.arange(len(LENGTHS))) for store in (live, kept))
        assert np.array_equal(a, b)


def test_memory_does_not_follow_the_longest_recording(tmp_path: Path) -> None:
    """Half an hour at 16 kHz among short clips: no batch holds more than its windows of a second."""
    rate, minutes = 16000, 30
    lengths = [rate // 2] * 63 + [minutes * 60 * rate]
    flat = np.memmap(tmp_path / "flat", np.int16, "w+", shape=(sum(lengths),))
    store = store_of([np.zeros(1, np.int16)] * len(lengths))
    ends = np.cumsum(lengths)
    store.items.flat, store.items.starts = flat, ends - lengths
    store.items.lengths = store.lengths = np.array(lengths)
    crops, windows = Crops(store, rate), Windows(store, rate)
    assert len(windows) == 63 + minutes * 60
    tracemalloc.start()
    train = Train(crops, np.zeros(64), Counted(), batch_size=32, seed=0)
    shapes = [batch["waveform"].shape for batch in train.stream(0, 4)]
    val = Eval(windows, windows.labels(np.zeros(64)), Counted(), batch_size=32)
    shapes += [batch["waveform"].shape for batch in val.stream()]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert max(width for _, width in shapes) == rate
    assert peak < 12 * 32 * rate * 2, "a few batches of 32 windows, and nothing of the 57 MB"
