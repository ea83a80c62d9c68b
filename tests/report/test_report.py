"""The report: complete, self-contained, and safe to open whatever the data is called."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.data.dataset import DataSet, Table
from zoo.kinds import Outcome, kind_of
from zoo.report import write_report
from zoo.report.charts import Series, confusion_heatmap, line_chart, reliability, ticks

EVIL = "<script>alert('x')</script>"


class Page(HTMLParser):
    """Tags, links and visible text; fails on tags that do not nest."""

    VOID = frozenset({"meta", "img", "br", "line", "circle", "rect", "path", "polyline", "link"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)


def make(folder: Path, task: str, classes: int = 3, n: int = 40, **options: Any) -> tuple[str, Page]:
    rng = np.random.default_rng(0)
    names = tuple(f"class {i} {EVIL if i == 1 else ''}" for i in range(classes)) if task != "regression" else ()
    inputs = [f"val/{i}{EVIL}.jpg" for i in range(n)]
    if task == "classification":
        labels: np.ndarray = rng.integers(0, classes, n)
        raw = rng.random((n, classes)) + 0.5 * np.eye(classes)[labels]
        scores, column = raw / raw.sum(1, keepdims=True), labels.tolist()
    elif task == "multi-label":
        labels = (rng.random((n, classes)) < 0.4).astype(np.float32)
        scores = np.clip(0.6 * labels + 0.5 * rng.random((n, classes)), 0, 1)
        column = [np.flatnonzero(row).tolist() for row in labels]
    else:
        labels = rng.normal(size=n).astype(np.float32)
        scores, column = labels + 0.1 * rng.normal(size=n), labels.tolist()
    outcome = Outcome(scores, items=inputs, truth=labels)
    table = Table({"input": inputs, "label": column})
    dataset = DataSet(
        EVIL, f"folder {EVIL}", "image", task, {"train": table, "val": table}, names, "ab" * 32, (f"a note {EVIL}",)
    )
    events = [
        {"event": "train", "stage": "full", "step": i + 1, "loss": 1 / (i + 1), "lr": 1e-3, "epoch": 0.1 * i}
        for i in range(30)
    ]
    events += [{"event": "evaluation", "stage": "full", "step": i, "loss": 0.5, "accuracy": 0.9} for i in (10, 20, 30)]
    path = folder / "report.html"
    write_report(
        path,
        dataset=dataset,
        evaluation=kind_of(task).report(outcome, names),
        outcome=outcome,
        inputs=inputs,
        events=events,
        config={"model": "m", "lr": 0.001, "nested": {"key": EVIL}, "unset": None},
        manifest={"model_id": "vision/m", "versions": {"torch": "2"}},
        skipped={"train": [(EVIL, "is empty")], "val": []},
        seconds=3725.0,
        **options,
    )
    html = path.read_text(encoding="utf-8")
    return html, Page(html)


@pytest.mark.parametrize(("task", "classes"), [("classification", 2), ("classification", 100), ("multi-label", 4)])
def test_self_contained_and_escaped(tmp_path: Path, task: str, classes: int) -> None:
    html, page = make(tmp_path, task, classes)
    assert "script" not in page.tags
    assert EVIL in "".join(page.text)
    assert all(link.startswith("data:") for link in page.links)
    assert not re.search(r"https?://|@import|url\(", html)
    assert "NaN" not in html
    assert len(html) < 1_500_000


def test_regression(tmp_path: Path) -> None:
    _, page = make(tmp_path, "regression")
    text = " ".join(page.text)
    assert "Predicted over true values" in text
    assert "Largest errors" in text
    assert "Confusion" not in text


def test_content(tmp_path: Path) -> None:
    _, page = make(tmp_path, "classification")
    text = re.sub(r"\s+", " ", " ".join(page.text))
    for part in ("95 % interval", "Loss", "Learning rate", "calibration error", "1 h 2 min", "a note", "is empty"):
        assert part in text
    for part in ("nested.key", "versions.torch", "data fingerprint", "1 unreadable in train", "on 40 samples"):
        assert part in text
    assert "unset" not in text


def test_thumbnails_are_the_surest_mistakes(tmp_path: Path) -> None:
    asked: list[list[int]] = []

    def pictures(rows: Any) -> np.ndarray:
        asked.append(list(rows))
        return np.zeros((len(rows), 3, 20, 20), np.uint8)

    _, page = make(tmp_path, "classification", n=200, thumbnails=pictures)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    raw = rng.random((200, 3)) + 0.5 * np.eye(3)[labels]
    scores = raw / raw.sum(1, keepdims=True)
    wrong = [i for i in range(200) if scores[i].argmax() != labels[i]]
    expected = sorted(wrong, key=lambda i: -scores[i].max())[:24]
    assert wrong
    assert asked == [expected]
    assert page.tags.count("img") == len(expected)


def test_sample_data_is_announced(tmp_path: Path) -> None:
    from dataclasses import replace

    labels, scores = np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]])
    outcome = Outcome(scores, truth=labels)
    table = Table({"input": ["a", "b"], "label": [0, 1]})
    dataset = DataSet(
        "d", "built-in sample", "image", "classification", {"train": table, "val": table}, ("x", "y"), "f"
    )
    for sample in (False, True):
        path = tmp_path / "r.html"
        write_report(
            path,
            dataset=replace(dataset, sample=sample),
            evaluation=kind_of("classification").report(outcome, ("x", "y")),
            outcome=outcome,
            inputs=["a", "b"],
        )
        assert ("Built-in sample." in path.read_text()) == sample


@given(st.floats(-1e9, 1e9), st.floats(0, 1e9))
def test_ticks_cover_their_range(low: float, span: float) -> None:
    found = ticks(low, low + span)
    assert 2 <= len(found) <= 13
    assert found[0] <= low + 1e-6 * (abs(low) + span)
    assert found[-1] >= low + span - 1e-6 * (abs(low) + span)


def test_line_breaks_where_values_are_missing() -> None:
    svg = line_chart("t", [Series("a", [0, 1, 2, 3], [1.0, float("nan"), 2.0, 3.0])])
    assert svg.count("M") == 2
    assert "nan" not in svg
    assert line_chart("t", [Series("a", [0], [float("inf")])]) == ""
    assert "<svg" in line_chart("t", [Series("a", [5], [2.0])])


def test_long_lines_are_thinned() -> None:
    x = list(range(50_000))
    assert len(line_chart("t", [Series("a", x, [float(v) for v in x])])) < 12_000


def test_heatmap_counts_and_empty_rows() -> None:
    svg = confusion_heatmap(np.array([[7, 3], [0, 0]]), ["a", "<b>"])
    assert ">7<" in svg
    assert ">3<" in svg
    assert "&lt;b&gt;" in svg
    assert "<b>" not in svg


def test_reliability_of_a_calibrated_model_is_on_the_diagonal() -> None:
    confidence = np.repeat([0.55, 0.75, 0.95], 100)
    correct = np.concatenate([np.arange(100) < round(100 * c) for c in (0.55, 0.75, 0.95)])
    svg = reliability(confidence, correct)
    for share in ("55.0%", "75.0%", "95.0%"):
        assert f"mean confidence {share}, {share} right" in svg
