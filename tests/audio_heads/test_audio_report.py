"""Reports and tables of what is heard: what was wrong can be read, whatever it holds."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np

from zoo.cli.evaluate import format_evaluation
from zoo.data.dataset import DataSet, Table
from zoo.kinds import Outcome, kind_of
from zoo.report import write_report

EVIL = "<script>alert('x')</script>"


def write(folder: Path, task: str, outcome: Outcome, labels: tuple[str, ...]) -> str:
    """The page's text."""
    names = [f"val/{EVIL.replace('/', '')}{row}.wav" for row in range(len(outcome))]
    table = Table({"input": names, "label": list(outcome.truth)})
    dataset = DataSet("d", "folder d", "audio", task, {"train": table, "val": table}, labels, "f")
    evaluation: dict[str, Any] = kind_of(task).report(outcome, labels)
    write_report(folder / "report.html", dataset=dataset, evaluation=evaluation, outcome=outcome, inputs=names)
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert "<script" not in html
    assert "NaN" not in html
    full = {"target": "run", "data": "d", "split": "val", **evaluation}
    assert next(iter(evaluation["metrics"])) in format_evaluation(full)
    return unescape(re.sub(r"\s+", " ", html))


def test_words_taken_for_others(tmp_path: Path) -> None:
    heard = ["a cat", f"a {EVIL}", "", "right"]
    outcome = Outcome(heard, truth=["a bat", "a cat", "silence", "right"])
    page = write(tmp_path, "transcription", outcome, tuple(" abct"))
    assert "word error rate" in page
    assert "3 of 4 validation recordings" in page
    assert f"true a cat<br><b>a {EVIL}</b>" in page
    assert "<b>nothing</b>" in page
    assert "<td>bat</td><td>cat</td>" in page
    assert "<td>silence</td><td>–</td>" in page
    assert "<td><b>all</b></td><td" in page
    assert "more classes" not in page


def test_events(tmp_path: Path) -> None:
    labels = ("none", "dog", EVIL)
    scores = [np.eye(3)[[0, 1, 1, 2, 0]], np.eye(3)[[0, 0]]]
    outcome = Outcome(scores, owner=[0, 1], truth=[[(0.5, 1.5, 1)], [(0.0, 1.0, 2)]], frame_seconds=0.5)
    page = write(tmp_path, "frame-classification", outcome, labels)
    assert "F1 of events" in page
    assert "<h2>Events</h2>" in page
    assert "true ones" in page
    assert EVIL in page


def test_voices(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    vectors = np.repeat(random.normal(size=(4, 8)), 3, axis=0) + 0.1 * random.normal(size=(12, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    page = write(tmp_path, "speaker-verification", Outcome(vectors, truth=np.repeat(range(4), 3)), tuple("abcd"))
    assert "equal error rate" in page
    assert "least detection cost" in page
    assert "Pairs of one speaker" in page
    assert "Pairs of different speakers" in page
