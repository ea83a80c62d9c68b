"""Voices: margins and figures against slow definitions, and what people see of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo import verification
from zoo.kinds import Outcome, kind_of, model_facts
from zoo.protocols import Features
from zoo.verification import equal_error, error_interval, least_cost, trials
from zoo_audio.speaker_head import WIDTH, SpeakerHead
from zoo_registry.errors import DataError, UsageError

SPEAKERS = ("ann", "bob", "cat", "new")


def head_for(**options: object) -> SpeakerHead:
    torch.manual_seed(0)
    return SpeakerHead(6, SPEAKERS, known=3, **options)  # type: ignore[arg-type]


def unit(n: int, dim: int = 6, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_the_margin_is_taken_from_the_own_cosine() -> None:
    head = head_for(scale=20.0, margin=0.3)
    vectors, label = torch.from_numpy(unit(5)), torch.tensor([0, 2, 3, 1, 0])
    loss, count = head.loss(vectors, {"label": label})
    prototypes = head.speakers.detach() / head.speakers.detach().norm(dim=1, keepdim=True)
    slow = 0.0
    for vector, speaker in zip(vectors, label.tolist(), strict=True):
        if speaker < 3:
            scores = [20.0 * (float(vector @ prototypes[j]) - 0.3 * (j == speaker)) for j in range(3)]
            slow -= scores[speaker] - np.log(np.exp(scores).sum())
    assert float(loss.detach()) == pytest.approx(slow, rel=1e-5)
    assert float(count) == 4
    (slope,) = torch.autograd.grad(loss, head.speakers)
    assert slope[3].abs().max() == 0  # a speaker who is not known is nobody's rival either


def test_a_split_of_new_speakers_can_be_evaluated() -> None:
    head = head_for().eval()
    loss, count = head.loss(torch.from_numpy(unit(4)), {"label": torch.full((4,), 3)})
    assert (float(loss.detach()), float(count)) == (0.0, 4.0)


def test_vectors_have_length_one_and_losses_add_up() -> None:
    head = head_for()
    pooled, label = (
        torch.randn(8, 6, generator=torch.Generator().manual_seed(1)),
        torch.tensor([0, 1, 2, 3, 0, 1, 2, 0]),
    )
    vectors = head(Features(pooled=pooled))
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(8))
    whole = head.loss(vectors, {"label": label})
    parts = [
        head.loss(head(Features(pooled=some)), {"label": ids})
        for some, ids in zip(pooled.split([1, 3, 4]), label.split([1, 3, 4]), strict=True)
    ]
    assert sum(float(count) for _, count in parts) == float(whole[1]) == 7
    (expected,) = torch.autograd.grad(whole[0], head.project.weight)
    (found,) = torch.autograd.grad(sum(loss for loss, _ in parts), head.project.weight)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    mean = (vectors[:1] + vectors[1:2]).detach() / 2
    torch.testing.assert_close(head.decode(mean)["scores"].norm(dim=1), torch.ones(1))


def test_a_saved_head_knows_its_speakers_again() -> None:
    again = SpeakerHead(6, SPEAKERS)
    again.load_state_dict(head_for().state_dict())
    assert int(again.known) == 3
    assert SpeakerHead(1000, SPEAKERS).project.out_features == WIDTH


def test_what_cannot_be_learnt_is_said() -> None:
    with pytest.raises(DataError, match="two speakers"):
        SpeakerHead(4, SPEAKERS, known=1)
    with pytest.raises(UsageError, match="margin of -1"):
        SpeakerHead(4, SPEAKERS, margin=-1.0)


def slow_rates(same: np.ndarray, other: np.ndarray) -> list[tuple[float, float]]:
    """(misses, false alarms) at every threshold that makes a difference, the lowest first."""
    thresholds = [*sorted({*same.tolist(), *other.tolist()}), np.inf]
    return [(float(np.mean(same < t)), float(np.mean(other >= t))) for t in thresholds]


def slow_equal_error(same: np.ndarray, other: np.ndarray) -> float:
    """Where the line through the rates meets the diagonal."""
    for (miss, alarm), (next_miss, next_alarm) in itertools.pairwise(slow_rates(same, other)):
        if next_miss >= next_alarm:
            way = np.linspace(0, 1, 200_001)
            misses, alarms = miss + way * (next_miss - miss), alarm + way * (next_alarm - alarm)
            return float(misses[np.abs(misses - alarms).argmin()])
    raise AssertionError


SCORES = st.lists(st.integers(-4, 4), min_size=1, max_size=12)


@given(SCORES, SCORES)
def test_equal_error_with_ties(one: list[int], two: list[int]) -> None:
    same, other = (np.sort(np.array(part, np.float32)) for part in (one, two))
    eer, threshold = equal_error(same, other)
    assert eer == pytest.approx(slow_equal_error(same, other), abs=1e-4)
    miss, alarm = float(np.mean(same < threshold)), float(np.mean(other >= threshold))
    rates = slow_rates(same, other)
    assert any((miss, alarm) == pytest.approx(one) for one in rates)
    assert abs(miss - alarm) == pytest.approx(min(abs(a - b) for a, b in rates))
    slow_cost = min(0.01 * a + 0.99 * b for a, b in rates) / 0.01
    assert least_cost(same, other) == pytest.approx(slow_cost)


@given(SCORES, SCORES, st.integers(0, 1000))
def test_weights_count_a_trial_so_many_times(one: list[int], two: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    same, other = (np.sort(np.array(part, np.float32)) for part in (one, two))
    times = [random.integers(0, 3, len(part)) for part in (same, other)]
    for part in times:
        part[0] += 1
    weighted = equal_error(same, other, *(part.astype(float) for part in times))[0]
    assert weighted == pytest.approx(equal_error(np.repeat(same, times[0]), np.repeat(other, times[1]))[0])


def test_trials_are_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "CHUNK", 3)
    vectors, speakers = unit(11), np.array([0, 1, 2, 0, 1, 2, 5, 0, 0, 1, 7])
    same, other = trials(vectors, speakers)
    pairs = list(itertools.combinations(range(11), 2))
    for found, alike in ((same, True), (other, False)):
        slow = sorted(float(vectors[a] @ vectors[b]) for a, b in pairs if (speakers[a] == speakers[b]) == alike)
        np.testing.assert_allclose(found, slow, rtol=1e-5, atol=1e-6)
    with pytest.raises(DataError, match="of one speaker"):
        trials(vectors, np.arange(11))
    with pytest.raises(DataError, match="of different speakers"):
        trials(vectors, np.zeros(11))
    monkeypatch.setattr(verification, "MOST", 6)
    assert sum(map(len, trials(vectors, np.array([0, 1] * 5 + [0])))) == 15


def test_metrics_over_batches_are_those_of_all() -> None:
    vectors, label = unit(20), np.arange(20) % 4
    metrics = head_for().metrics()
    metrics.reset()
    for rows in np.array_split(np.arange(20), 3):
        metrics.update(torch.from_numpy(vectors[rows]), {"label": torch.from_numpy(label[rows])})
    same, other = trials(vectors, label)
    assert metrics.compute() == {"eer": equal_error(same, other)[0], "min_dcf": least_cost(same, other)}


def voices() -> Outcome:
    """Three recordings of each of eight voices, near one another."""
    centres = unit(8, 16)
    vectors = np.repeat(centres, 3, axis=0) + 0.25 * unit(24, 16, seed=1)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Outcome(vectors, truth=np.repeat(np.arange(8), 3), threshold=0.5)


def test_report_and_answers() -> None:
    kind, outcome = kind_of("speaker-verification"), voices()
    report = kind.report(outcome, ())
    assert report["n"] == 24
    assert report["trials"] == {"same": 24, "other": 252}
    low, high = report["intervals"]["eer"]
    assert low <= report["metrics"]["eer"] <= high
    assert report["intervals"]["eer"] == error_interval(np.asarray(outcome.scores), np.asarray(outcome.truth))
    assert kind.score(outcome, ()) == ("eer", report["metrics"]["eer"])
    assert kind.agreement(outcome, outcome) == 1.0
    assert kind.agreement(outcome, Outcome(unit(24, 16, seed=5))) < 0.5
    rows = kind.predictions(outcome, ())
    assert rows[0]["label"] is rows[0]["score"] is None
    assert [row["label"] for row in rows[1:4]] == ["same", "same", "other"]
    assert rows[1]["score"] == pytest.approx(float(outcome.scores[0] @ outcome.scores[1]))
    assert len(rows[1]["vector"]) == 16
    assert kind.predictions(Outcome(outcome.scores[:2]), ())[1]["label"] is None
    with pytest.raises(UsageError, match="nothing to measure"):
        kind.report(Outcome([]), ())


def test_speakers_of_other_data_need_no_counterpart() -> None:
    kind = kind_of("speaker-verification")
    assert kind.used([0, 1]) == set()
    assert list(kind.match([0, 1], [-1, -1], 3)) == [0, 1]


def test_what_an_outcome_takes_from_the_model() -> None:
    meta = {"preprocessing": {"rate": 8000}, "metrics": {"threshold": 0.4}}
    assert model_facts(meta, 160) == {"frame_seconds": 0.02, "threshold": 0.4}
    assert model_facts({"preprocessing": {}}, 0) == {"frame_seconds": 0.0, "threshold": None}
