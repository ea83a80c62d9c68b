"""Reports and tables of text tasks: what was wrong can be read, whatever the texts hold."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zoo.cli.evaluate import format_evaluation
from zoo.data.dataset import DataSet, Table
from zoo.kinds import Outcome, kind_of
from zoo.report import write_report
from zoo.windows import Context, Frame, Window

EVIL = "<script>alert('x')</script>"
TAGS = ("O", "B-person", "I-person", f"B-{EVIL}")


def write(folder: Path, task: str, outcome: Outcome, labels: tuple[str, ...], shown: list[str]) -> str:
    """The page's text."""
    table = Table({"input": list(outcome.items), "label": list(outcome.truth)})
    dataset = DataSet("d", "folder d", "text", task, {"train": table, "val": table}, labels, "f")
    path = folder / "report.html"
    evaluation = kind_of(task).report(outcome, labels)
    write_report(path, dataset=dataset, evaluation=evaluation, outcome=outcome, inputs=shown)
    html = path.read_text(encoding="utf-8")
    assert "<script" not in html
    assert "NaN" not in html
    assert not re.search(r"https?://|@import|url\(|<img", html)
    return unescape(re.sub(r"\s+", " ", html))


def tagged(items: list[Any], given: list[list[int]], truth: list[list[int]]) -> Outcome:
    arrays = [np.stack([np.arange(len(ids))] * 3, axis=1).astype(np.int32) for ids in given]
    scores = [np.eye(len(TAGS), dtype=np.float32)[ids] for ids in given]
    return Outcome(scores, items, arrays, range(len(items)), truth)


def test_wrong_entities_are_marked(tmp_path: Path) -> None:
    items = [["Ada", "Byron", "met", EVIL], ["all", "right"], ["a"] * 300]
    given = [[0, 1, 0, 1], [0, 0], [1] + [0] * 298]
    outcome = tagged(items, given, [[1, 2, 0, 3], [0, 0], [0] * 300])
    page = write(tmp_path, "token-classification", outcome, TAGS, ["x"] * 3)
    assert f'<span class="wrong">{EVIL}<sub>person</sub></span>' in page
    assert '<span class="wrong">Byron<sub>person</sub></span>' in page
    assert f"true, not found: Ada Byron: person; {EVIL}: {EVIL}" in page
    assert "2 of 3 validation sentences" in page
    assert "all right" not in page
    assert page.count(" a a a") < 100  # long sentences are shortened
    assert "1 of 306 words have no token" in page
    assert "Entities and tags" in page
    assert "Validation F1" in page


def test_wrong_tags_are_marked(tmp_path: Path) -> None:
    outcome = tagged([["dogs", "bark"]], [[0, 0]], [[0, 1]])
    page = write(tmp_path, "token-classification", outcome, ("NOUN", "VERB", "X", "Y"), ["x"])
    assert 'dogs <span class="wrong">bark<sub>NOUN</sub></span>' in page
    assert "bark: VERB" in page


def test_wrong_answers_are_shown_beside_the_right_ones(tmp_path: Path) -> None:
    context = f"one two {EVIL} " + "word " * 200
    places = [(match.start(), match.end()) for match in re.finditer(r"\S+", context)]
    tokens = Context(np.arange(len(places), dtype=np.int32), np.array(places, np.int32))
    none = np.empty((0, 2), np.int32)
    frame = Frame(np.array([[0, 0]], np.int32), none, none, (0, 1))
    window = Window(f"who {EVIL}?", context, 0, len(places), np.zeros(0, np.int32), tokens, frame)
    logits = np.zeros((len(places) + 1, 2), np.float32)
    logits[3] = 9.0
    truths = [[{"text": "two", "start": 4}], [{"text": context.split()[2], "start": 8}], []]
    outcome = Outcome([logits] * 3, [window] * 3, [window.decode()] * 3, range(3), truths)
    page = write(tmp_path, "question-answering", outcome, (), ["x"] * 3)
    assert "2 of 3 validation questions" in page
    assert page.count(f"who {EVIL}?<br>") == 2
    assert "true two<br>" in page
    assert "true no answer<br>" in page
    assert page.count("word") < 120
    assert "33.3 %" in page


def test_mistaken_texts_are_shown(tmp_path: Path) -> None:
    scores, truth = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([1, 1])
    outcome = Outcome(scores, [f"bad {EVIL}", "good"], truth=truth)
    page = write(tmp_path, "classification", outcome, ("neg", "pos"), [f"bad {EVIL}", "good"])
    assert f'<div class="text">bad {EVIL}</div>' in page
    assert "Most confident mistakes" in page


@pytest.mark.parametrize("task", ["embedding", "generation"])
def test_tasks_without_samples_to_show(tmp_path: Path, task: str) -> None:
    if task == "embedding":
        vectors = np.eye(4, dtype=np.float32)
        outcome = Outcome(np.stack([vectors, vectors], axis=1), [("a", "b")] * 4, truth=np.zeros(4, int))
    else:
        outcome = Outcome(np.array([[2.0, 3, 1], [4.0, 5, 2]]), ["a", "b"], truth=np.zeros(2, int))
    page = write(tmp_path, task, outcome, (), ["a"] * len(outcome))
    assert "mistakes" not in page
    assert {"embedding": "Validation recall at 1", "generation": "Validation perplexity"}[task] in page


def test_tables_of_the_command_line() -> None:
    outcome = tagged([["Ada", "Byron", "met", "x"]], [[1, 2, 0]], [[1, 2, 0, 3]])
    report = kind_of("token-classification").report(outcome, TAGS)
    text = format_evaluation({"target": "r", "data": "d", "split": "val", **report})
    lines = text.splitlines()
    assert lines[0] == "r: token-classification, 1 samples of d (val)"
    assert any(line.split()[:2] == ["f1", "0.6667"] for line in lines)
    assert any(line.split()[:3] == ["person", "1", "1.0000"] for line in lines)
    assert any(line.startswith("1 of 4 words have no token") for line in lines)
