"""Evaluating runs, checkpoints and exports; labels are matched by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from zoo.cli.main import main
from zoo.data.dataset import DataSet, Table
from zoo.exporting import ExportResult
from zoo.measure import evaluate, match_labels
from zoo.predicting import predict
from zoo_registry.errors import DataError, UsageError


def test_accuracy_is_the_share_of_right_predictions(run: Path, photos: Path) -> None:
    result = evaluate(run)
    rows = predict(run, [photos / "val"])
    right = [row["label"] == Path(row["input"]).parent.name for row in rows]
    assert result["n"] == len(rows) == 24
    assert result["metrics"]["accuracy"] == pytest.approx(np.mean(right))
    low, high = result["intervals"]["accuracy"]
    assert low < result["metrics"]["accuracy"] < high or result["metrics"]["accuracy"] == high == 1
    assert np.array(result["confusion"]).sum() == 24
    assert [one["name"] for one in result["classes"]] == ["bird", "cat", "dog"]
    json.dumps(result, allow_nan=False)


def test_run_model_folder_and_export_agree(run: Path, exported: ExportResult, photos: Path) -> None:
    one = evaluate(run)
    two = evaluate(run / "model")
    three = evaluate(exported.path, photos)
    assert one["metrics"] == two["metrics"]
    assert one["metrics"] == pytest.approx(three["metrics"], abs=1e-4)
    assert three["backend"] == "onnxruntime"
    assert evaluate(run, split="train")["n"] == 48
    assert evaluate(run, split="all")["n"] == 72
    with pytest.raises(DataError, match="no split 'test'"):
        evaluate(run, split="test")


def test_export_without_data(exported: ExportResult) -> None:
    with pytest.raises(UsageError, match="no data of its own"):
        evaluate(exported.path)


def test_labels_by_name_not_by_number(run: Path, photos: Path, tmp_path: Path) -> None:
    """A set without birds numbers cats 0; a renamed class is unknown."""
    for name in ("cat", "dog"):
        shutil.copytree(photos / "val" / name, tmp_path / "two" / name)
    result = evaluate(run, tmp_path / "two")
    assert (result["n"], result["split"]) == (16, "all")  # no split of its own: every file counts
    whole = evaluate(run)
    for one in (1, 2):
        assert result["confusion"][one] == whole["confusion"][one]
    (tmp_path / "two" / "dog").rename(tmp_path / "two" / "Dogs")
    with pytest.raises(DataError, match=r"does not know: 'Dogs'"):
        evaluate(run, tmp_path / "two")


def test_match_labels_for_multi_label() -> None:
    table = Table({"input": ["x", "y"], "label": [[0], [0, 1]]})
    dataset = DataSet("d", "d", "image", "multi-label", {"val": table}, ("c", "a"), "")
    assert match_labels(dataset, "val", ("a", "b", "c")).tolist() == [[0, 0, 1], [1, 0, 1]]
    with pytest.raises(DataError, match="'a'"):
        match_labels(dataset, "val", ("b", "c"))
    unused = DataSet("d", "d", "image", "multi-label", {"val": table}, ("c", "a", "zebra"), "")
    assert match_labels(unused, "val", ("a", "b", "c")).shape == (2, 3)


def test_bad_files_are_skipped_up_to_a_share(run: Path, photos: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(photos, tmp_path / "pets"))
    (folder / "val" / "cat" / "cat0.png").write_bytes(b"no image")
    result = evaluate(run, folder)
    assert (result["n"], result["skipped"]) == (23, 1)
    with pytest.raises(DataError, match="1 of 24 inputs"):
        evaluate(run, folder, max_bad=0.01)


def test_verb_prints_tables_and_json(run: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    text = runner.invoke(main, ["evaluate", str(run)]).stdout
    assert "accuracy" in text
    assert "95 % interval" in text
    assert any(line.split()[:2] == ["cat", "8"] for line in text.splitlines())
    result = json.loads(runner.invoke(main, ["evaluate", str(run), "--json"]).stdout)
    assert result["schema_version"] == 1
    assert {"task", "n", "metrics"} <= set(result)
    target = tmp_path / "e.json"
    assert runner.invoke(main, ["evaluate", str(run), "--json", "-o", str(target)]).exit_code == 0
    assert json.loads(target.read_text()) == result
    again = runner.invoke(main, ["evaluate", str(run), "--json", "-o", str(target)])
    assert isinstance(again.exception, UsageError)


def test_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a run"):
        evaluate(tmp_path)
