"""Each joint-embedding objective from the command to a finetune."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from finetuning import write_photos
from safetensors.torch import load_file

from zoo.cli.main import run

SHORT = ["--size", "32", "--device", "cpu", "--epochs", "2", "--batch-size", "8"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos") / "data")


def pretrain(photos: Path, out: Path, objective: str, *options: str, model: str = "test_resnet") -> int:
    words = ["pretrain", model, "--objective", objective, "--data", str(photos), "-o", str(out), *SHORT]
    return run([*words, *options])


@pytest.mark.parametrize("objective", ["simclr", "vicreg", "byol", "dino"])
def test_a_run_is_watched_and_finetuned(photos: Path, tmp_path: Path, objective: str) -> None:
    assert pretrain(photos, tmp_path / "run", objective) == 0
    metrics = json.loads((tmp_path / "run" / "evaluation.json").read_text())["metrics"]
    assert {"embedding_std", "knn_accuracy", "loss"} <= metrics.keys()
    words = ["finetune", str(tmp_path / "run"), "--data", str(photos), "-o", str(tmp_path / "fine"), "--epochs", "1"]
    assert run([*words, "--device", "cpu", "--strategy", "head"]) == 0
    begun, kept = (load_file(tmp_path / name / "model" / "backbone.safetensors") for name in ("run", "fine"))
    assert begun.keys() == kept.keys()
    for key, tensor in begun.items():
        assert torch.equal(tensor, kept[key])


def test_files_without_classes_keep_the_last_weights(photos: Path, tmp_path: Path) -> None:
    assert pretrain(photos / "train" / "bar", tmp_path / "run", "byol", "--val-fraction", "0.3") == 0
    metrics = json.loads((tmp_path / "run" / "evaluation.json").read_text())["metrics"]
    assert "knn_accuracy" not in metrics
    assert metrics["updates"] == 2


def test_a_vit_learns_from_small_crops(photos: Path, tmp_path: Path) -> None:
    assert pretrain(photos, tmp_path / "run", "dino", "--epochs", "1", model="test_vit3") == 0


def test_what_does_not_go_says_so(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain(photos, tmp_path / "a", "simclr", "--batch-size", "1") == 2
    assert "would hold one" in capsys.readouterr().err
    assert pretrain(photos, tmp_path / "b", "dino", "-O", "local_size=20", model="test_vit3") == 2
    assert "no small crops of 20x20" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
