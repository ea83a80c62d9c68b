"""Connectionist temporal classification: the loss against all alignments, decoding against loops, figures against
torchmetrics."""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics.functional.text import char_error_rate, word_error_rate

from zoo.ctc import collapse, greedy
from zoo.edits import changes, distance
from zoo.protocols import IGNORE, Features
from zoo.units import read, spell
from zoo_audio.ctc_head import PADDING, CtcHead, CtcMetrics, frames_needed
from zoo_audio.frame_outputs import OFF
from zoo_registry.errors import DataError, PluginError

LETTERS = (" ", "a", "b", "c")


def features(lengths: list[int], dim: int = 5, more: int = 0, seed: int = 0) -> Features:
    """Noise on as many frames; where one is padding, other noise."""
    noise = torch.Generator().manual_seed(seed)
    clips = [torch.randn(length, dim, generator=noise) for length in lengths]
    tokens = torch.full((len(lengths), max(lengths) + more, dim), 7.0)
    mask = torch.zeros(tokens.shape[:2], dtype=torch.bool)
    for row, clip in enumerate(clips):
        tokens[row, : len(clip)] = clip
        mask[row, : len(clip)] = True
    return Features(pooled=tokens.mean(dim=1), tokens=tokens, mask=mask)


def labels_of(rows: list[list[int]], more: int = 0) -> Tensor:
    label = torch.full((len(rows), max(map(len, rows)) + more), IGNORE)
    for place, row in enumerate(rows):
        label[place, : len(row)] = torch.tensor(row, dtype=torch.long)
    return label


def slow_collapse(path: tuple[int, ...]) -> tuple[int, ...]:
    """Merge runs, then drop blanks, as the paper says it."""
    merged = [one for place, one in enumerate(path) if place == 0 or one != path[place - 1]]
    return tuple(one - 1 for one in merged if one > 0)


def slow_likelihood(log_probs: Tensor) -> dict[tuple[int, ...], float]:
    """Probability of each text: the sum over all paths that collapse to it."""
    found: dict[tuple[int, ...], float] = defaultdict(float)
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        found[slow_collapse(path)] += float(sum(log_probs[i, one] for i, one in enumerate(path)).exp().detach())
    return found


def head_for(labels: tuple[str, ...] = LETTERS, dim: int = 5) -> CtcHead:
    torch.manual_seed(0)
    head = CtcHead(dim, labels)
    torch.nn.init.normal_(head.frames.linear.weight)
    return head.eval()


def test_loss_is_the_likelihood_summed_over_all_alignments() -> None:
    head, rows, lengths = head_for(LETTERS[:2]), [[1, 1], [0, 1, 0], [1], []], [5, 4, 3, 2]
    given = features(lengths, more=2)
    logits = head(given)
    loss, count = head.loss(logits, {"label": labels_of(rows)})
    slow = 0.0
    for row, length, wanted in zip(logits, lengths, rows, strict=True):
        slow -= float(np.log(slow_likelihood(row[:length].log_softmax(dim=-1))[tuple(wanted)]))
    assert float(loss.detach()) == pytest.approx(slow, rel=1e-5)
    assert float(count) == 2 + 3 + 1 + 1


def test_clips_too_short_for_their_transcript_cost_nothing_and_are_counted() -> None:
    head = head_for()
    label = labels_of([[1, 1, 2], [1, 2]])
    assert frames_needed(label).tolist() == [4, 2]
    logits = head(features([3, 3]))
    loss, count = head.loss(logits, {"label": label})
    alone, one = head.loss(logits[1:], {"label": label[1:]})
    assert float(count) == float(one) == 2
    torch.testing.assert_close(loss, alone)
    (slope,) = torch.autograd.grad(loss, logits)
    assert slope[0].abs().max() == 0
    assert slope[1].abs().max() > 0
    metrics = head.metrics()
    metrics.update(head.keep(logits, {"label": label}), {"label": label})
    assert metrics.compute()["too_short"] == 1
    metrics.reset()
    metrics.update(head.keep(logits[1:], {"label": label[1:]}), {"label": label[1:]})
    assert "too_short" not in metrics.compute()


def test_accumulating_gives_the_same_loss_and_gradients() -> None:
    head, rows = head_for(), [[1, 2], [3, 0, 1, 1], [2], [1, 1, 1, 1, 1]]
    given, label = features([4, 9, 3, 6]), labels_of(rows)
    whole = head.loss(head(given), {"label": label})
    expected = torch.autograd.grad(whole[0] / whole[1], list(head.parameters()))
    total, count, slopes = 0.0, 0.0, [torch.zeros_like(one) for one in head.parameters()]
    for row in range(4):
        part = Features(*(field[row : row + 1] for field in (given.pooled, given.tokens, given.mask)))
        loss, units = head.loss(head(part), {"label": label[row : row + 1]})
        total, count = total + float(loss.detach()), count + float(units)
        for slope, more in zip(slopes, torch.autograd.grad(loss, list(head.parameters())), strict=True):
            slope += more
    assert count == float(whole[1]) == 2 + 4 + 1  # five equal units take nine frames, of which there are six
    assert total == pytest.approx(float(whole[0].detach()), rel=1e-6)
    for slope, one in zip(slopes, expected, strict=True):
        torch.testing.assert_close(slope / count, one, rtol=1e-5, atol=1e-6)


def test_padding_changes_nothing_and_says_blank() -> None:
    head = head_for()
    together, alone = head(features([2, 5], more=3)), head(features([2]))
    torch.testing.assert_close(together[0, :2], alone[0])
    assert (together[0, 2:, 0] == 0).all()
    assert (together[0, 2:, 1:] == OFF).all()
    scores = head.decode(together)["scores"]
    assert (scores[0, 2:, 0] == 1).all()
    kept = head.keep(together, {})
    assert kept.shape == (2, 8)
    assert (kept[0, 2:] == PADDING).all()
    assert head.decode(kept)["scores"].shape == (2, 8)
    assert head(Features(pooled=torch.zeros(1, 5), tokens=torch.ones(1, 3, 5))).shape == (1, 3, 5)
    # Also in half precision, which cannot write the logit of what is ruled out.
    with torch.autocast("cpu", torch.bfloat16):
        half = head(features([2, 5], more=3))
    assert (head.keep(half, {}) == PADDING).sum() == (kept == PADDING).sum()


def test_what_a_head_needs() -> None:
    with pytest.raises(DataError, match="nothing to learn"):
        CtcHead(4, ())
    with pytest.raises(PluginError, match="no frames"):
        head_for()(Features(pooled=torch.zeros(1, 5)))
    assert set(head_for().state_dict()) == {"frames.linear.weight", "frames.linear.bias"}


@given(st.lists(st.integers(-1, 3), max_size=12))
def test_collapse_against_the_papers_words(path: list[int]) -> None:
    units, places = collapse(np.array(path, np.int64))
    assert tuple(units.tolist()) == slow_collapse(tuple(max(one, 0) for one in path))
    assert [path[place] - 1 for place in places] == units.tolist()


@given(st.integers(0, 9), st.integers(0, 10_000))
def test_certainty_is_the_highest_of_a_units_frames(frames: int, seed: int) -> None:
    scores = np.random.default_rng(seed).dirichlet(np.ones(4), frames).reshape(frames, 4)
    units, certainty = greedy(scores)
    path, slow = scores.argmax(axis=1), []
    for place, one in enumerate(path):
        if one and (place == 0 or path[place - 1] != one):
            run = list(itertools.takewhile(lambda i, one=one: path[i] == one, range(place, frames)))
            slow.append((one - 1, scores[run, one].max()))
    assert list(zip(units.tolist(), certainty.tolist(), strict=True)) == slow


WORDS = st.text(alphabet="ab ", max_size=12)


@given(WORDS, WORDS)
def test_edits_against_the_recursive_definition(one: str, other: str) -> None:
    def slow(a: str, b: str, known: dict[tuple[int, int], int]) -> int:
        if not a or not b:
            return len(a) + len(b)
        if (len(a), len(b)) not in known:
            known[len(a), len(b)] = min(
                slow(a[1:], b, known) + 1, slow(a, b[1:], known) + 1, slow(a[1:], b[1:], known) + (a[0] != b[0])
            )
        return known[len(a), len(b)]

    edits = changes(one, other)
    assert distance(one, other) == len(edits) == slow(one, other, {})
    # Undone one after another the edits make the wanted text of the given one.
    added = sum(said is not None and true is None for true, said in edits)
    missed = sum(said is None for _, said in edits)
    assert len(one) - added + missed == len(other)


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=5))
def test_error_rates_are_those_of_torchmetrics(pairs: list[tuple[str, str]]) -> None:
    pairs = [(read(spell(one, LETTERS), LETTERS), read(spell(other, LETTERS), LETTERS)) for one, other in pairs]
    given, wanted = [one for one, _ in pairs], [other for _, other in pairs]
    metrics = CtcMetrics(LETTERS)
    for one, other in pairs:  # in batches of one: the counts add up
        path = [x for unit in spell(one, LETTERS) for x in (0, unit + 1)] + [PADDING]
        row = {"label": torch.tensor([[*spell(other, LETTERS), IGNORE]])}
        metrics.update(torch.tensor([path], dtype=torch.float32), row)
    found = metrics.compute()
    if any(wanted):
        assert found["wer"] == pytest.approx(float(word_error_rate(given, wanted)))
        assert found["cer"] == pytest.approx(float(char_error_rate(given, wanted)))
    assert found["exact_match"] == pytest.approx(np.mean([one == other for one, other in pairs]))


def test_other_pieces_of_the_same_text_are_no_fault() -> None:
    pieces = ("▁", "a", "b", "▁a", "ab")
    label = torch.tensor([spell("ab a", pieces)])
    metrics = CtcMetrics(pieces)
    assert label.tolist() == [[3, 2, 3]]  # ▁a b ▁a
    metrics.update(torch.tensor([[1.0, 5.0, 0.0, 4.0]]), {"label": label})  # ▁ ab ▁a
    assert metrics.compute() == {"wer": 0.0, "cer": 0.0, "exact_match": 1.0}
    metrics.update(torch.tensor([[4.0, 3.0, 0.0, 0.0]]), {"label": label})  # ▁a b
    assert metrics.compute() == {"wer": 0.25, "cer": 0.25, "exact_match": 0.5}
