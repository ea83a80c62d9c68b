"""From a run's logits of windows to what its report is made of."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from audio_toys import tiny_wav2vec

from zoo.data.clips import Windows
from zoo.data.dataset import Table
from zoo.kinds import kind_of
from zoo.measure import _outcome
from zoo.tasks import SupervisedTask
from zoo_audio.ctc_head import CtcHead
from zoo_audio.frame_head import FrameHead

LENGTHS = [16000, 40000]
EVENTS = [[(0.2, 0.6, 1), (0.6, 1.0, 0)], [(0.5, 2.1, 1), (2.1, 2.5, 0)]]


def data_of(labels: list[object], window: int) -> SimpleNamespace:
    """The second recording is longer than the window."""
    store = Windows(SimpleNamespace(lengths=np.array(LENGTHS), key="k", bad=[]), window)  # type: ignore[arg-type]
    owners = store.owner.tolist()
    table = Table({"input": [f"{i}.wav" for i in owners], "owner": owners, "label": [labels[i] for i in owners]})
    return SimpleNamespace(
        stores={"val": store}, tables={"val": table}, labels={"val": None}, pipeline=SimpleNamespace(rate=16000)
    )


def test_windows_of_events_lie_where_they_are_cut_from() -> None:
    task = SupervisedTask(tiny_wav2vec(), FrameHead(16, ("none", "dog")))  # type: ignore[arg-type]
    data = data_of(EVENTS, 24000)
    store = data.stores["val"]
    scores = np.zeros((3, 99, 2), np.float32)  # as collected: padded to the longest, and behind that with anything
    scores[..., 1] = 1.0
    for row, (owner, first) in enumerate(zip(store.owner, store.first, strict=True)):
        start, end, _ = EVENTS[owner][0]
        middle = first / 16000 + 0.02 * (np.arange(99) + 0.5)
        scores[row, :, 1] = (middle >= start) & (middle < end) | (0.02 * np.arange(99) > 1.5)
        scores[row, :, 0] = 1 - scores[row, :, 1]
    outcome = _outcome(task, scores, data, "val", np.arange(3))  # type: ignore[arg-type]
    frames = task.backbone.frames(torch.from_numpy(store.lengths)).tolist()  # type: ignore[attr-defined]
    assert [len(row) for row in outcome.scores] == frames
    assert list(outcome.starts) == [0.0, 0.0, 1.0]
    assert outcome.frame_seconds == 0.02
    report = kind_of("frame-classification").report(outcome, ("none", "dog"))
    assert report["n"] == 2
    assert report["metrics"]["event_f1"] == 1.0
    assert report["metrics"]["accuracy"] > 0.97


def test_paths_of_transcripts_come_with_their_texts() -> None:
    task = SupervisedTask(tiny_wav2vec(), CtcHead(16, (" ", "a")))  # type: ignore[arg-type]
    data = data_of(["a", "aa"], 0)
    paths = np.zeros((2, 200), np.float32)
    paths[0, 3], paths[1, 3], paths[1, 7], paths[0, 150] = 2, 2, 2, 2  # the last lies behind its recording's end
    outcome = _outcome(task, paths, data, "val", np.arange(2))  # type: ignore[arg-type]
    assert kind_of("transcription").report(outcome, task.head.labels)["metrics"]["wer"] == 0.0
    assert list(outcome.truth) == ["a", "aa"]
