"""The weights that zoo ships: small, whole, what their record says, and taken (and said) where the hub is away."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import timm
import torch
from finetuning import write_photos
from safetensors.torch import load_file

import zoo
import zoo_vision
from zoo.cli.main import run
from zoo_vision.packed import unpack

FILE = Path(zoo_vision.__file__).parent / "weights" / "resnet50_starter.safetensors"


def test_the_file_is_small_and_the_one_its_record_names():
    assert FILE.stat().st_size < 30e6
    (record,) = [w for w in zoo.default_registry().weights_of("vision/resnet50") if w.tag == "starter"]
    assert hashlib.sha256(FILE.read_bytes()).hexdigest() == record.sha256


def test_it_is_timms_resnet50(monkeypatch):
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    loaded = zoo.load("resnet50@starter")
    module = timm.create_model("resnet50", num_classes=0)
    module.load_state_dict(unpack(load_file(FILE)))
    image = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(loaded.backbone.eval()({"image": image}).pooled, module.eval()(image))
    assert loaded.backbone.input.size == (3, 160, 160)


def test_finetuning_resnet50_without_a_hub_says_what_it_begins_with(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    data = write_photos(tmp_path / "photos", train=8, val=4)
    out = tmp_path / "run"
    command = ["finetune", "resnet50", "--data", str(data), "--size", "32", "--strategy", "head", "-o", str(out)]
    assert run([*command, "--device", "cpu", "--epochs", "1"]) == 0
    said = capsys.readouterr().err
    assert (
        "weights: vision/resnet50@starter" in said or "@starter: vision/resnet50@a1_in1k is out of reach here" in said
    )
    manifest = json.loads((out / "manifest.json").read_text())
    assert "vision/resnet50@starter" in json.dumps(manifest)
    assert "is out of reach here" in json.dumps(manifest)


@pytest.mark.data
def test_its_linear_probe_tells_cats_from_dogs(data_path, monkeypatch, capsys):
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    assert (
        run(["evaluate", "resnet50@starter", "--probe", "linear", "--data", str(data_path / "cats_dogs"), "--json"])
        == 0
    )
    assert json.loads(capsys.readouterr().out)["metrics"]["accuracy"] > 0.8
