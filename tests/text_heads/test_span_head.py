"""Answers to questions: loss, best spans and figures against loops; whole answers over several windows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from text_toys import tiny, write_byte_level, write_tokenizer

from zoo.data.dataset import Table
from zoo.kinds import Outcome, kind_of
from zoo.kinds.spans import LONGEST, answers, best_span, compare
from zoo.padding import pad
from zoo.protocols import Batch
from zoo.tasks import SupervisedTask
from zoo_registry.errors import UsageError
from zoo_registry.specs import InputSpec
from zoo_text.pipeline import text_pipeline
from zoo_text.span_head import SpanHead, SpanMetrics, best_spans
from zoo_text.windows import WindowView, qa_view

CONTEXTS = ["the cat sat on mat . dog ran far away . good film bad film", "a b c d e f g h i j", "bad dog"]
ANSWERS = ["dog ran", "j", ""]
KIND = kind_of("question-answering")


def view_of(folder: Path, length: int = 16, write: Any = write_tokenizer) -> WindowView:
    return qa_view(text_pipeline(InputSpec(modality="text", size=(length,), assets=str(write(folder / "assets")))))


@pytest.fixture
def view(tmp_path: Path) -> WindowView:
    return view_of(tmp_path)


def rows_of(view: WindowView, contexts: list[str] = CONTEXTS, answers: list[str] = ANSWERS) -> Table:
    items = [{"id": str(i), "question": "who ran", "context": context} for i, context in enumerate(contexts)]
    pairs = zip(contexts, answers, strict=True)
    labels = [[{"text": text, "start": context.index(text)}] if text else [] for context, text in pairs]
    return view.rows(Table({"input": items, "label": labels}))


def batch_of(view: WindowView, table: Table) -> tuple[Batch, list[np.ndarray]]:
    arrays = [view.decode(item) for item in table.columns["input"]]
    tokens, length = pad(arrays)
    batch = {"tokens": torch.from_numpy(tokens), "length": torch.from_numpy(length)}
    return view.prepare({**batch, "label": torch.tensor(table.columns["label"])}), arrays


def outcome_of(table: Table, arrays: list[np.ndarray], logits: list[np.ndarray]) -> Outcome:
    columns = table.columns
    return Outcome(logits, columns["input"], arrays, columns["owner"], columns.get("truth", ()))


def test_loss_is_over_the_context_and_the_first_token(view: WindowView) -> None:
    batch, arrays = batch_of(view, rows_of(view))
    logits = torch.randn(*batch["word"].shape, 2)
    loss, count = SpanHead(4).loss(logits, batch)
    slow = 0.0
    for row, array in enumerate(arrays):
        allowed = [0, *(place for place in range(len(array)) if array[place, 2] >= 0)]
        for side in range(2):
            target = allowed.index(int(batch["label"][row, side]))
            slow -= float(logits[row, allowed, side].log_softmax(dim=0)[target]) / 2
    assert float(loss) == pytest.approx(slow, rel=1e-5)
    assert int(count) == len(arrays)


def slow_best(logits: np.ndarray, word: np.ndarray) -> tuple[float, int, int]:
    places = [place for place in range(len(word)) if word[place] >= 0]
    pairs = [(first, last) for first in places for last in places if first <= last < first + LONGEST]
    return max((float(logits[first, 0] + logits[last, 1]), first, last) for first, last in pairs)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 50), st.integers(0, 6), st.integers(0, 2**31))
def test_best_span_is_that_of_all_spans(context: int, before: int, seed: int) -> None:
    logits = np.random.default_rng(seed).normal(size=(1 + before + context + 1, 2)).astype(np.float32)
    word = np.concatenate([np.full(1 + before, -1), np.arange(context), [-1]])
    wanted = slow_best(logits, word)
    assert best_span(logits, word) == pytest.approx(wanted)
    padded = torch.zeros(1, len(word) + 3, 2)
    padded[0, : len(word)] = torch.from_numpy(logits)
    padded[0, 0] = -100.0
    words = torch.nn.functional.pad(torch.from_numpy(word), (0, 3), value=-1)[None]
    assert best_spans(padded, words).tolist() == [list(wanted[1:])]
    padded[0, 0] = 100.0
    assert best_spans(padded, words).tolist() == [[0, 0]]


def test_streaming_metrics_against_a_loop(view: WindowView) -> None:
    batch, _ = batch_of(view, rows_of(view))
    random = torch.Generator().manual_seed(0)
    metrics, exact, f1 = SpanMetrics().to(torch.device("cpu")), [], []
    for _ in range(20):
        logits = 2 * torch.randn(*batch["word"].shape, 2, generator=random)
        metrics.update(logits, batch)
        for one, other in zip(best_spans(logits, batch["word"]).tolist(), batch["label"].tolist(), strict=True):
            mine, theirs = (set(range(span[0], span[1] + 1)) for span in (one, other))
            exact.append(mine == theirs)
            f1.append(2 * len(mine & theirs) / (len(mine) + len(theirs)))
    assert metrics.compute() == pytest.approx({"span_f1": np.mean(f1), "span_exact": np.mean(exact)})


def pointing(arrays: list[np.ndarray], spans: dict[int, tuple[int, int, float]]) -> list[np.ndarray]:
    """Logits of windows: 0 everywhere, 1 at the first token, and these spans' heights."""
    logits = [np.zeros((len(array), 2), np.float32) for array in arrays]
    for row in logits:
        row[0] = 0.5
    for place, (first, last, height) in spans.items():
        logits[place][first, 0] = logits[place][last, 1] = height
    return logits


def test_the_best_window_answers(view: WindowView) -> None:
    context = CONTEXTS[0]
    table = rows_of(view, [context], ["dog ran"])
    assert len(table) == 2
    _, arrays = batch_of(view, table)
    spans = {0: (5, 5, 2.0), 1: (6, 8, 3.0)}
    (answer,) = answers(outcome_of(table, arrays, pointing(arrays, spans)), may_be_none=True)
    window = table.columns["input"][1]
    assert answer.text == " ".join(context.split()[window.first + 2 : window.first + 5])
    assert context[answer.start : answer.end] == answer.text
    weights = np.exp([0.5, *(3.0 if i == 2 else 0.0 for i in range(window.stop - window.first))])
    assert answer.score == pytest.approx((weights[3] / weights.sum()) ** 2)


def test_nothing_is_answered_where_every_window_says_so(view: WindowView) -> None:
    table = rows_of(view, CONTEXTS[:1], [""])
    _, arrays = batch_of(view, table)
    logits = pointing(arrays, {0: (5, 6, 2.0)})
    for row, height in zip(logits, (9.0, 3.0), strict=True):
        row[0] = height
    outcome = outcome_of(table, arrays, logits)
    (row,) = KIND.predictions(outcome, ())
    assert (row["label"], row["start"], row["end"]) == ("", None, None)
    assert 0 < row["score"] <= 1
    assert json.dumps(row)
    logits[1][0] = 1.0  # one window is not sure that there is nothing
    assert KIND.predictions(outcome, ())[0]["label"]
    report = KIND.report(outcome, ())
    assert report["metrics"]["exact_match"] == 0.0


def perfect(table: Table, arrays: list[np.ndarray]) -> list[np.ndarray]:
    spans = {i: (*label, 5.0) for i, label in enumerate(table.columns["label"])}
    return pointing(arrays, spans)


@pytest.mark.parametrize("write", [write_tokenizer, write_byte_level])
def test_targets_as_logits_give_the_gold_answers(tmp_path: Path, write: Any) -> None:
    view = view_of(tmp_path, 40, write)
    table = rows_of(view)
    _, arrays = batch_of(view, table)
    outcome = outcome_of(table, arrays, perfect(table, arrays))
    rows = KIND.predictions(outcome, ())
    assert [row["label"] for row in rows] == ANSWERS
    for row, context in zip(rows[:2], CONTEXTS, strict=False):
        assert context[row["start"] : row["end"]] == row["label"]
    report = KIND.report(outcome, ())
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["metrics"] == {
        "f1": 1.0,
        "exact_match": 1.0,
        "answerable_f1": 1.0,
        "unanswerable_accuracy": 1.0,
    }
    assert (report["n"], report["windows"]) == (3, len(table))
    assert KIND.score(outcome, ()) == ("f1", 1.0)
    assert KIND.agreement(outcome, outcome) == 1.0


def test_a_question_of_data_that_always_has_answers_is_always_answered(view: WindowView) -> None:
    table = rows_of(view, CONTEXTS[:2], ANSWERS[:2])
    _, arrays = batch_of(view, table)
    logits = perfect(table, arrays)
    for row in logits:
        row[0] = 50.0
    outcome = outcome_of(table, arrays, logits)
    assert KIND.report(outcome, ())["metrics"] == {"f1": 1.0, "exact_match": 1.0}
    assert [row["label"] for row in KIND.predictions(outcome, ())] == ["", ""]


def test_answers_are_compared_as_squad_has_it() -> None:
    wanted = [{"text": "the Cat, sat", "start": 0}, {"text": "dog", "start": 9}]
    assert compare("cat sat", wanted) == (1.0, 1.0)
    assert compare("a dog!", wanted) == (1.0, 1.0)
    assert compare("cat ran", wanted) == (0.5, 0.0)
    assert compare("", wanted) == (0.0, 0.0)
    assert compare("", []) == (1.0, 1.0)
    assert compare("dog", []) == (0.0, 0.0)


def test_it_learns(view: WindowView) -> None:
    torch.manual_seed(0)
    task = SupervisedTask(tiny("bert"), SpanHead(16, dropout=0.1))
    table = rows_of(view)
    batch, arrays = batch_of(view, table)
    optimizer = torch.optim.Adam(task.parameters(), lr=1e-2)
    for _ in range(60):
        loss, count, _, _ = task(batch)
        (loss / count).backward()
        optimizer.step()
        optimizer.zero_grad()
    task.eval()
    scores = task.head.decode(task(batch)[3])["scores"].detach().numpy()
    outcome = outcome_of(table, arrays, [row[: len(a)] for row, a in zip(scores, arrays, strict=True)])
    assert [row["label"] for row in KIND.predictions(outcome, ())] == ANSWERS
    metrics = task.metrics()
    metrics.update(task(batch)[3].detach(), batch)
    assert metrics.compute() == {"span_f1": 1.0, "span_exact": 1.0}


def test_nothing_to_measure() -> None:
    with pytest.raises(UsageError, match="no samples"):
        KIND.report(Outcome([]), ())
