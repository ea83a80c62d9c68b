"""What holds for every objective on images: an interrupted run goes on as if nothing had happened, bit for bit, with
its teachers, centres and second optimizer."""

from __future__ import annotations

import hashlib
import json
import signal

import pytest
import torch
from finetuning import write_photos

from zoo.cli.main import run
from zoo.config import PretrainConfig
from zoo.data.draws import HashDraws
from zoo.engine.logger import Logger
from zoo.stages import Unvaried
from zoo_registry.builders import load_builder
from zoo_registry.specs import InputSpec
from zoo_vision.objectives_list import OBJECTIVES
from zoo_vision.pipeline import ImagePipeline

MODELS = {"mae": "test_vit", "distill": "resnet10t"}
SETTINGS = {
    "distill": ["-O", "teacher=efficientnet_lite0", "-O", "apart=0.75"],
    "dino": ["-O", "prototypes=32", "-O", "hidden=32", "-O", "local_views=1"],
}
EPOCHS = 2  # of two steps each


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory):
    return write_photos(tmp_path_factory.mktemp("data") / "photos", train=16, val=8)


def command(name: str, data, out) -> list[str]:
    start = ["pretrain", MODELS.get(name, "test_resnet"), "--objective", name, "--data", str(data), "--device", "cpu"]
    lengths = ["--size", "32", "--batch-size", "16", "--epochs", str(EPOCHS), "--log-every", "1"]
    return [*start, *lengths, *SETTINGS.get(name, []), "--output", str(out)]


def left_by(out) -> tuple[str, list[dict]]:
    """(hash of the trained backbone, what was logged but for speeds)."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    timed = ("samples_per_second", "peak_mib", "tflops", "mfu", "eta_seconds")
    kept = [{key: value for key, value in line.items() if key not in timed} for line in lines]
    return hashlib.sha256((out / "model" / "backbone.safetensors").read_bytes()).hexdigest(), kept


@pytest.mark.parametrize("name", [spec.name for spec in OBJECTIVES])
def test_interrupted_and_resumed_equals_left_alone(name, photos, tmp_path, monkeypatch, capsys):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run(command(name, photos, whole)) == 0
    logged = Logger.train

    def interrupted(self, step, values):
        logged(self, step, values)
        if step == 3:  # in the middle of an epoch
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(Logger, "train", interrupted)
        assert run(command(name, photos, cut)) == 130
    capsys.readouterr()
    for wanted in (["finetune", str(cut), "--data", str(photos)], ["export", str(cut), "-o", str(tmp_path / "out")]):
        assert run(wanted) != 0
        assert f"Finish it: zoo pretrain --resume {cut}\n" in capsys.readouterr().err
    assert run(["pretrain", "--resume", str(cut)]) == 0
    assert left_by(cut) == left_by(whole)
    assert (cut / "report.html").stat().st_size > 1000


@pytest.mark.parametrize("spec", OBJECTIVES, ids=lambda spec: spec.name)
def test_records_say_what_they_do(spec):
    assert spec.modalities == ("image",)
    assert spec.summary.endswith(".")
    assert spec.summary[0].isupper()


@pytest.mark.parametrize("spec", OBJECTIVES, ids=lambda spec: spec.name)
def test_what_is_learnt_from_changes_each_epoch_also_without_augmentation(spec):
    if not spec.view:
        pytest.skip("it has no view of its own")
    pipeline = ImagePipeline(InputSpec(modality="image", size=(3, 32, 32), mean=(0.5,) * 3, std=(0.2,) * 3))
    teacher = {"teacher": "efficientnet_lite0"} if spec.name == "distill" else {}
    config = PretrainConfig(model="a", data="b", options={**spec.options, **teacher})
    view = Unvaried(load_builder(spec.view)(pipeline, config))
    canvas = torch.randint(0, 256, (4, *pipeline.shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    batch = {"image": canvas, "index": torch.arange(4), "label": torch.zeros(4, dtype=torch.int64)}
    first, second, again = (view.augment(dict(batch), HashDraws(0, epoch, batch["index"])) for epoch in (0, 1, 0))
    assert any(not torch.equal(first[name], second[name]) for name in first)
    assert all(torch.equal(first[name], again[name]) for name in first)
