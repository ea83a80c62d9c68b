"""What is heard when: frames against ticks, events against brute force, windows put together."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from audio_toys import tiny_wav2vec
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from zoo.events import COLLAR, Event, count_events, events_of, frames_of
from zoo.kinds import Outcome, kind_of
from zoo.protocols import IGNORE, Features
from zoo.tasks import SupervisedTask
from zoo_audio.frame_head import FrameHead, frame_targets
from zoo_audio.frame_outputs import OFF
from zoo_registry.errors import DataError, PluginError, UsageError

LABELS = ("none", "dog", "bell")


def batch(frames: list[int], more: int = 0) -> tuple[Features, Tensor]:
    """Clips of as many frames of 20 ms, noise, and a class every 10 ms."""
    noise = torch.Generator().manual_seed(0)
    longest = max(frames) + more
    tokens = torch.full((len(frames), longest, 5), 3.0)
    mask = torch.zeros(len(frames), longest, dtype=torch.bool)
    label = torch.full((len(frames), 2 * max(frames)), IGNORE)
    for row, count in enumerate(frames):
        tokens[row, :count] = torch.randn(count, 5, generator=noise)
        mask[row, :count] = True
        label[row, : 2 * count] = torch.randint(0, 3, (count,), generator=noise).repeat_interleave(2)
    return Features(pooled=tokens.mean(dim=1), tokens=tokens, mask=mask), label


def head_for() -> FrameHead:
    torch.manual_seed(0)
    head = FrameHead(5, LABELS)
    torch.nn.init.normal_(head.frames.linear.weight)
    head.frame_seconds = 0.02
    return head.eval()


def test_loss_is_the_cross_entropy_of_real_frames() -> None:
    head, frames = head_for(), [4, 7, 1]
    given, label = batch(frames, more=2)
    logits = head(given)
    loss, count = head.loss(logits, {"label": label})
    slow = sum(F.cross_entropy(logits[row, i], label[row, 2 * i]) for row, n in enumerate(frames) for i in range(n))
    torch.testing.assert_close(loss, slow)
    assert float(count) == 12
    (slope,) = torch.autograd.grad(loss, logits)
    assert slope[0, 4:].abs().max() == 0


@pytest.mark.parametrize(("hop", "frames"), [(0.02, 199), (0.04, 101), (0.01, 400), (0.0125, 320)])
def test_frames_find_the_ticks_of_their_time(hop: float, frames: int) -> None:
    """An event from 1 s to 2 s of 4 s; networks have a frame more or less than the time divides into."""
    label = torch.zeros(1, 400, dtype=torch.long)
    label[0, 100:200] = 1
    found = frame_targets(torch.zeros(1, frames, 3), label, hop)[0]
    within = frames_of([Event(1.0, 2.0, 1)], frames, hop)
    assert [one for one in found.tolist() if one != IGNORE] == within[: round(4 / hop)].tolist()
    assert (found == IGNORE).sum() == max(0, frames - round(4 / hop))


def test_frames_without_ticks_count_nothing() -> None:
    label = torch.tensor([[1, 2], [IGNORE, IGNORE]])
    assert frame_targets(torch.zeros(2, 3, 3), label, 0.01).tolist() == [[1, 2, IGNORE], [IGNORE] * 3]
    with pytest.raises(PluginError, match="how long frames are"):
        FrameHead(5, LABELS).loss(torch.zeros(2, 3, 3), {"label": label})


def test_a_task_tells_the_head_how_long_frames_are() -> None:
    head = FrameHead(16, LABELS)
    SupervisedTask(tiny_wav2vec(), head)  # type: ignore[arg-type]
    assert head.frame_seconds == 0.02


def test_accumulating_gives_the_same_loss_and_gradients() -> None:
    head = head_for()
    given, label = batch([4, 9, 2, 6])
    whole = head.loss(head(given), {"label": label})
    slopes, total, count = torch.zeros_like(head.frames.linear.weight), 0.0, 0.0
    for row in range(4):
        part = Features(*(field[row : row + 1] for field in (given.pooled, given.tokens, given.mask)))
        loss, frames = head.loss(head(part), {"label": label[row : row + 1]})
        slopes += torch.autograd.grad(loss, head.frames.linear.weight)[0]
        total, count = total + float(loss.detach()), count + float(frames)
    (expected,) = torch.autograd.grad(whole[0], head.frames.linear.weight)
    assert (count, total) == (float(whole[1]), pytest.approx(float(whole[0].detach()), rel=1e-6))
    torch.testing.assert_close(slopes, expected, rtol=1e-5, atol=1e-5)


def test_padding_changes_nothing_and_says_none() -> None:
    head = head_for()
    together, alone = head(batch([2, 5], more=3)[0]), head(batch([2])[0])
    torch.testing.assert_close(together[0, :2], alone[0])
    assert (together[0, 2:, 1:] == OFF).all()
    assert (head.decode(together)["scores"][0, 2:, 0] == 1).all()
    with pytest.raises(DataError, match="no events"):
        FrameHead(4, ("none",))


def test_metrics_count_frames() -> None:
    head = head_for()
    given, label = batch([5, 8, 3])
    logits, metrics = head(given), head.metrics()
    for row in range(3):
        metrics.update(logits[row : row + 1], {"label": label[row : row + 1]})
    said, true = [], []
    for row, count in enumerate([5, 8, 3]):
        said += logits[row, :count].argmax(dim=-1).tolist()
        true += label[row, : 2 * count : 2].tolist()
    f1 = []
    for kind in (1, 2):
        right = sum(a == b == kind for a, b in zip(said, true, strict=True))
        f1.append(2 * right / (said.count(kind) + true.count(kind)))
    found = metrics.compute()
    assert found["accuracy"] == pytest.approx(np.mean(np.array(said) == true))
    assert found["macro_f1"] == pytest.approx(np.mean(f1))


def test_events_and_frames_are_each_others_inverse() -> None:
    classes = np.array([0, 1, 1, 2, 2, 2, 0, 0, 1])
    events = events_of(classes, 0.02)
    assert [(e.kind, e.first, e.stop) for e in events] == [(1, 1, 3), (2, 3, 6), (1, 8, 9)]
    assert events[1].start == pytest.approx(0.06)
    assert events[1].end == pytest.approx(0.12)
    assert frames_of(events, 9, 0.02).tolist() == classes.tolist()
    assert events_of(np.zeros(0, int), 0.02) == events_of(np.zeros(4, int), 0.02) == []


EVENTS = st.lists(
    st.tuples(st.integers(0, 12), st.integers(1, 12), st.integers(1, 2)).map(
        lambda one: Event(one[0] / 10, (one[0] + one[1]) / 10, one[2])
    ),
    max_size=5,
)


@given(EVENTS, EVENTS)
def test_as_many_events_are_right_as_can_be(found: list[Event], real: list[Event]) -> None:
    def fits(one: Event, other: Event) -> bool:
        late = max(COLLAR, 0.2 * (other.end - other.start))
        near = abs(one.start - other.start) < COLLAR + 1e-5 and abs(one.end - other.end) < late + 1e-5
        return one.kind == other.kind and near

    short, long = (found, real) if len(found) <= len(real) else (real, found)
    most = 0
    for chosen in itertools.permutations(range(len(long)), len(short)):
        pairs = [(short[i], long[j]) if short is found else (long[j], short[i]) for i, j in enumerate(chosen)]
        most = max(most, sum(fits(one, other) for one, other in pairs))
    counts = count_events(found, real, 3)
    assert counts[:, 0].sum() == most
    assert counts[:, 1].tolist() == [sum(e.kind == k for e in found) for k in range(3)]
    assert counts[:, 2].tolist() == [sum(e.kind == k for e in real) for k in range(3)]


def test_a_long_chain_of_events_that_fit_their_neighbours() -> None:
    real = [Event(0.1 * i, 0.1 * i + 0.1, 1) for i in range(3000)]
    assert count_events(real[::-1], real, 2)[1].tolist() == [3000] * 3
    assert count_events(real[1:], real, 2)[1].tolist() == [2999, 2999, 3000]


def probabilities(classes: list[int], sure: float = 0.8) -> np.ndarray:
    rows = np.full((len(classes), 3), (1 - sure) / 2)
    rows[np.arange(len(classes)), classes] = sure
    return rows


def test_predictions_are_events_in_seconds() -> None:
    outcome = Outcome([probabilities([0, 1, 1, 0, 2]), probabilities([0, 0])], owner=[0, 1], frame_seconds=0.5)
    one, other = kind_of("frame-classification").predictions(outcome, LABELS)
    assert one["label"] == [
        {"start": 0.5, "end": 1.5, "label": "dog", "score": pytest.approx(0.8)},
        {"start": 2.0, "end": 2.5, "label": "bell", "score": pytest.approx(0.8)},
    ]
    assert one["score"] == pytest.approx(0.8)
    assert (other["label"], other["score"]) == ([], None)
    with pytest.raises(UsageError, match="how long its frames"):
        kind_of("frame-classification").predictions(Outcome([probabilities([0])]), LABELS)


def test_windows_are_put_together_by_time() -> None:
    """Two windows that share a second and disagree in it, and a frame that neither has."""
    first, second = probabilities([0, 1, 1, 1], 0.9), probabilities([2, 1, 1], 0.6)
    parts = Outcome([first, second], owner=[7, 7], starts=[0.0, 1.5], frame_seconds=0.5)
    (row,) = kind_of("frame-classification").predictions(parts, LABELS)
    assert [(e["start"], e["end"], e["label"]) for e in row["label"]] == [(0.5, 3.0, "dog")]
    gap = Outcome([first, second], owner=[7, 7], starts=[0.0, 2.5], frame_seconds=0.5)
    (row,) = kind_of("frame-classification").predictions(gap, LABELS)
    found = [(e["start"], e["end"], e["label"]) for e in row["label"]]
    assert found == [(0.5, 2.5, "dog"), (2.5, 3.0, "bell"), (3.0, 4.0, "dog")]


def test_report_counts_events_and_frames() -> None:
    kind = kind_of("frame-classification")
    truth = [[(0.5, 1.5, 1), (2.0, 2.5, 2)], [(0.0, 1.0, 1)]]
    outcome = Outcome(
        [probabilities([0, 1, 1, 0, 2]), probabilities([0, 0])], owner=[0, 1], truth=truth, frame_seconds=0.5
    )
    report = kind.report(outcome, LABELS)
    assert (report["n"], report["frames"]) == (2, 7)
    metrics = report["metrics"]
    assert metrics["event_recall"] == pytest.approx(2 / 3)
    assert metrics["event_precision"] == 1.0
    assert metrics["event_f1"] == kind.score(outcome, LABELS)[1] == pytest.approx(0.8)
    assert metrics["accuracy"] == pytest.approx(5 / 7)
    assert metrics["macro_f1"] == pytest.approx((4 / 6 + 1) / 2)
    dog, bell = report["classes"]
    assert (dog["name"], dog["support"], dog["predicted"], dog["recall"]) == ("dog", 2, 1, 0.5)
    assert (bell["f1"], bell["support"]) == (1.0, 1)
    assert kind.agreement(outcome, outcome) == 1.0
    with pytest.raises(UsageError, match="nothing to measure"):
        kind.report(Outcome([]), LABELS)


def test_other_datas_events_are_matched_by_name() -> None:
    kind, truth = kind_of("frame-classification"), [[(0.0, 1.0, 2)], []]
    assert kind.used(truth) == {2}
    assert kind.match(truth, [0, -1, 1], 3) == [[(0.0, 1.0, 1)], []]
