from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from engine_toys import EvalRows, TrainRows, mlp, run, vectors
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from zoo.engine.logger import Logger


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_json_lines_off_a_terminal(tmp_path: Path) -> None:
    stream = io.StringIO()
    logger = Logger(tmp_path, stream=stream)
    logger.begin("main", 10)
    for step in range(1, 11):
        logger.train(step, {"loss": 1 / step})
    logger.evaluation(10, {"accuracy": 0.5, "loss": float("nan")}, best=True)
    logger.end()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["event"], line["step"]) for line in lines] == [("train", 1), ("train", 10), ("evaluation", 10)]
    assert lines[0]["steps"] == 10
    assert lines[0]["eta_seconds"] >= 0
    written = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(written) == 11
    assert written[-1] == {
        "event": "evaluation",
        "stage": "main",
        "step": 10,
        "accuracy": 0.5,
        "loss": None,
        "best": True,
    }
    board = EventAccumulator(str(tmp_path / "tb"))
    board.Reload()
    assert [round(point.value, 4) for point in board.Scalars("train/loss")][:3] == [1.0, 0.5, 0.3333]
    assert [point.step for point in board.Scalars("evaluation/accuracy")] == [10]


def test_a_bar_on_a_terminal(tmp_path: Path) -> None:
    stream = Terminal()
    logger = Logger(tmp_path, stream=stream)
    logger.begin("main", 4)
    logger.train(2, {"loss": 0.25, "samples_per_second": 1234.0, "tflops": 2.0, "mfu": 0.417})
    logger.evaluation(2, {"accuracy": 0.875}, best=True)
    logger.end()
    logger.end()
    text = stream.getvalue()
    assert "loss 0.2500  1,234/s  MFU 42%  0:00:00 left" in text
    assert "main step 2: accuracy 0.875  (best)" in text
    assert "{" not in text


def test_continuing_drops_what_will_be_logged_again(tmp_path: Path) -> None:
    logger = Logger(tmp_path, quiet=True)
    for stage in ("head", "main"):
        logger.begin(stage, 8)
        for step in range(1, 7):
            logger.train(step, {"loss": 1.0})
        logger.evaluation(4, {"loss": 1.0})
        logger.evaluation(6, {"loss": 1.0})
        logger.end()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"event": "train", "sta')
    logger.begin("main", 8, step=4, evaluated=2)
    logger.end()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    main = [(line["event"], line["step"]) for line in lines if line["stage"] == "main"]
    assert main == [("train", step) for step in range(1, 5)]
    assert len([line for line in lines if line["stage"] == "head"]) == 8


def test_profile_leaves_a_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(mlp(), TrainRows(vectors(), 16), EvalRows(vectors(20, 2), 8), tmp_path, steps=8, profile=True)
    trace = json.loads((tmp_path / "profile" / "trace.json").read_text())
    assert any(event.get("name") == "aten::addmm" for event in trace["traceEvents"])
    # Which operations lead the table is a matter of microseconds.
    table = capsys.readouterr().err
    assert "Self CPU" in table
    assert "aten::" in table
