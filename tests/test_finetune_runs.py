"""Whole runs of the tiny model: what is written, what is repeated exactly, what is said."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from finetuning import TINY, finetune, write_photos
from killing import kill_after_first_checkpoint

import zoo
from zoo.cli.main import run
from zoo.config import FinetuneConfig, make_config
from zoo.trained import load_trained
from zoo_registry.errors import UsageError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos")


def model_hash(folder: Path) -> str:
    parts = [(folder / "model" / f"{name}.safetensors").read_bytes() for name in ("backbone", "head")]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("strategy", ["head", "full", "lp-ft"])
def test_a_run_leaves_everything_needed_behind(photos, tmp_path, strategy, capsys):
    out = tmp_path / "run"
    assert finetune(photos, out, "--strategy", strategy, "--epochs", "2", "--head-epochs", "2", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["schema_version"] == 1
    assert answer["run"] == str(out)
    assert 0 <= answer["metrics"]["accuracy"] <= 1
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert manifest["weights"]["id"] == "none"
    assert manifest["data"]["sizes"] == {"train": 24, "val": 12}
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["strategy"] == strategy
    for name in ("report.html", "model/model.json", "metrics.jsonl"):
        assert (out / name).stat().st_size > 100
    assert any((out / "tb").rglob("events.*"))
    trained = load_trained(out)
    assert trained.labels == ("bar", "dot")
    best = load_trained(out / "checkpoints" / "best")
    for a, b in zip(trained.task.parameters(), best.task.parameters(), strict=True):
        assert (a == b).all()


def test_the_backbone_loads_in_its_own_library(photos, tmp_path):
    import timm
    from safetensors.torch import load_file

    assert finetune(photos, tmp_path / "run", "--epochs", "1") == 0
    model = timm.create_model("test_resnet", num_classes=0)
    model.load_state_dict(load_file(tmp_path / "run" / "model" / "backbone.safetensors"), strict=True)


def test_the_written_config_repeats_the_run(photos, tmp_path):
    assert finetune(photos, tmp_path / "one", "--epochs", "2", "--dropout", "0.1") == 0
    again = ["finetune", "--config", str(tmp_path / "one" / "config.yaml"), "--output", str(tmp_path / "two")]
    assert run(again) == 0
    assert model_hash(tmp_path / "one") == model_hash(tmp_path / "two")


def test_the_written_config_reads_back_as_it_was(photos, tmp_path):
    # Choices left open come as whole numbers, the fields are floats: a resume compares the two as text.
    assert finetune(photos, tmp_path / "run", "--strategy", "full", "--patience", "1") == 0
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert json.dumps(make_config(FinetuneConfig, written).model_dump()) == json.dumps(written)


def test_the_seed_decides(photos, tmp_path):
    for name, seed in (("a", "1"), ("b", "2")):
        assert finetune(photos, tmp_path / name, "--epochs", "1", "--seed", seed) == 0
    assert model_hash(tmp_path / "a") != model_hash(tmp_path / "b")


def test_accumulation_does_not_change_the_loss_curve(photos, tmp_path):
    # BatchNorm couples the samples of a micro-batch, so its statistics are kept here.
    options = ["--epochs", "2", "--batch-size", "8", "--batchnorm", "frozen", "--log-every", "1"]
    curves = []
    for micro in ("8", "2"):
        assert finetune(photos, tmp_path / micro, *options, "--micro-batch", micro) == 0
        curves.append([line["loss"] for line in lines(tmp_path / micro) if line["event"] == "train"])
    np.testing.assert_allclose(curves[0], curves[1], atol=1e-6, rtol=1e-5)


def test_killed_and_resumed_equals_left_alone(photos, tmp_path):
    options = ["--strategy", "lp-ft", "--epochs", "4", "--head-epochs", "4", "--batch-size", "4", "--save-every", "1"]
    assert finetune(photos, tmp_path / "whole", *options, "--ema", "0.5") == 0
    command = ["finetune", "test_resnet", "--data", str(photos), *TINY, *options]
    out = tmp_path / "cut"
    kill_after_first_checkpoint([*command, "--ema", "0.5", "--output", str(out)], out)
    with pytest.raises(UsageError, match="did not finish") as caught:
        load_trained(out)
    assert f"zoo finetune --resume {out}. Or use its best checkpoint" in caught.value.remedy
    assert run(["finetune", "--resume", str(out)]) == 0
    assert model_hash(out) == model_hash(tmp_path / "whole")
    steps = [(line["stage"], line["event"], line["step"]) for line in lines(out)]
    assert len(steps) == len(set(steps)), "a resumed run must not log a step twice"


def test_sigterm_saves_and_says_how_to_go_on(photos, tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "zoo.cli.main", "finetune", "test_resnet", "--data", str(photos), *TINY]
    command += ["--epochs", "5000", "--output", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (out / "checkpoints" / "last" / "state.json").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 143
    assert f"zoo finetune --resume {out}" in talk
    assert "Traceback" not in talk
    assert json.loads((out / "manifest.json").read_text())["status"] == "interrupted"


def test_two_processes_train_like_one(photos, tmp_path):
    options = ["--epochs", "2", "--batch-size", "8", "--batchnorm", "frozen", "--log-every", "1", "--strategy", "lp-ft"]
    assert finetune(photos, tmp_path / "one", *options) == 0
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "zoo.cli.main", "finetune", "test_resnet", "--data", str(photos), *TINY, *options]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "two")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    one, two = (
        {(x["stage"], x["step"]): x["loss"] for x in lines(tmp_path / name) if x["event"] == "train"}
        for name in ("one", "two")
    )
    assert one.keys() == two.keys()
    np.testing.assert_allclose(list(one.values()), list(two.values()), atol=1e-5)


def test_features_are_computed_once(photos, tmp_path, capsys):
    options = ["--strategy", "head", "--epochs", "2"]
    assert finetune(photos, tmp_path / "one", *options) == 0
    assert "once through the frozen backbone" in capsys.readouterr().err
    assert finetune(photos, tmp_path / "two", *options) == 0
    talk = capsys.readouterr().err
    assert "once through the frozen backbone" not in talk
    assert "from the cache" in talk
    assert model_hash(tmp_path / "one") == model_hash(tmp_path / "two")


def test_a_run_can_be_the_start_of_another(photos, tmp_path, capsys):
    assert finetune(photos, tmp_path / "one", "--epochs", "1") == 0
    command = ["finetune", str(tmp_path / "one"), "--data", str(photos), "--size", "32", "--strategy", "head"]
    assert run([*command, "--epochs", "1", "--output", str(tmp_path / "two")]) == 0
    one, two = (load_trained(tmp_path / name).task.backbone.module.state_dict() for name in ("one", "two"))
    assert all((one[key] == two[key]).all() for key in one), "the head strategy keeps the backbone it was given"


def test_learning_happens(photos, tmp_path):
    result = zoo.finetune(
        "test_resnet", str(photos), output=tmp_path / "run", weights="none", size=32, device="cpu", epochs=40, lr=3e-3
    )
    assert result.metrics["accuracy"] >= 0.9


def test_regression_and_multi_label_tables(photos, tmp_path):
    files = sorted((photos / "train").rglob("*.png"))
    table = tmp_path / "table.csv"
    rows = [f"{file},{100 + 10 * (file.parent.name == 'bar') + i / 7}" for i, file in enumerate(files)]
    table.write_text("image,price\n" + "\n".join(rows))
    assert finetune(table, tmp_path / "price", "--epochs", "2", "--label-column", "price") == 0
    assert "rmse" in json.loads((tmp_path / "price" / "manifest.json").read_text())["metrics"]
    tags = tmp_path / "tags.csv"
    rows = [f"{file},{file.parent.name}{'|even' if i % 2 else ''}" for i, file in enumerate(files)]
    tags.write_text("image,tags\n" + "\n".join(rows))
    assert finetune(tags, tmp_path / "tags", "--epochs", "2", "--task", "multi-label", "--label-column", "tags") == 0
    assert "map" in json.loads((tmp_path / "tags" / "manifest.json").read_text())["metrics"]
    for name in ("price", "tags"):
        assert (tmp_path / name / "report.html").stat().st_size > 1000
