"""A head that begins as the pair's own zero-shot classifier."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import tower_toys
import yaml
from killing import kill_after_first_checkpoint
from torch.nn import functional as F
from tower_toys import CLASSES, picture, png

from zoo.cli.main import run
from zoo.engine.checkpoint import Checkpoints
from zoo.prompts import PICTURE_TEMPLATES
from zoo.protocols import Features
from zoo.trained import load_trained, pipeline_for
from zoo.weights import identify_weights, load_backbone
from zoo_multimodal.zero_shot_head import ZeroShotHead

QUICK = ("--device", "cpu", "--epochs", "2", "--batch-size", "8")


def finetune(model: object, data: Path, out: Path, *options: str) -> int:
    return run(["finetune", str(model), "--data", str(data), "-o", str(out), "--head", "zero-shot", *QUICK, *options])


def reference(registry: Any, weights: str | None, pictures: list[bytes], labels: tuple[str, ...]) -> torch.Tensor:
    """Zero-shot logits, picture by picture and sentence by sentence."""
    loaded = load_backbone("toy-pair", weights=weights, registry=registry)
    pair: Any = loaded.backbone
    pair.eval()
    image, text = (
        pipeline_for(f"toys/toy-{side}", dataclasses.replace(part, assets=loaded.input.assets), registry)
        for side, part in zip(("image", "text"), loaded.input.parts, strict=True)
    )
    rows = []
    with torch.no_grad():
        classes = []
        for label in labels:
            found = []
            for template in PICTURE_TEMPLATES:
                tokens = torch.from_numpy(text.decode(template.format(label.replace("_", " ").replace("-", " "))))[None]
                found.append(pair.encode("text", text.prepare({"tokens": tokens, "index": torch.arange(1)}))[0])
            mean = torch.stack(found).mean(0)
            classes.append(mean / mean.norm())
        for one in pictures:
            batch = image.prepare({"image": torch.from_numpy(image.decode(one))[None], "index": torch.arange(1)})
            vector = pair.encode("image", batch)[0]
            rows.append(torch.stack([pair.logit_scale.exp() * vector @ word for word in classes]))
    return torch.stack(rows)


@pytest.mark.parametrize("source", ["tag", "run"])
def test_before_the_first_step_it_is_the_zero_shot_classifier(source, pairs_run, pictures, tmp_path, registry, capsys):
    out = tmp_path / "run"
    model = pairs_run if source == "run" else "toy-pair"
    assert finetune(model, pictures, out, "--wise-ft", "0") == 0  # nothing is kept of the training
    said = capsys.readouterr().err
    assert "head: begins with what toy-text makes of 3 class names in 8 sentences each" in said
    trained = load_trained(out, registry)
    assert trained.labels == CLASSES
    files = [path for name in CLASSES for path in sorted((pictures / "val" / name).glob("*.png"))]
    wanted = reference(registry, str(pairs_run) if source == "run" else None, [f.read_bytes() for f in files], CLASSES)
    arrays = np.stack([trained.pipeline.decode(str(file)) for file in files])
    batch = trained.pipeline.prepare({"image": torch.from_numpy(arrays), "index": torch.arange(len(files))})
    with torch.no_grad():
        logits = trained.task.head(trained.task.backbone(batch))
    assert torch.allclose(logits, wanted, atol=1e-4)
    truth = torch.arange(3).repeat_interleave(5)
    accuracy = float((wanted.argmax(1) == truth).float().mean())
    assert accuracy > 0.5, "the toy knows something, so that the start is worth keeping"
    assert f"main: accuracy {accuracy:.4f} before the first step" in said
    evaluations = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    first = next(one for one in evaluations if one["event"] == "evaluation")
    assert (first["step"], first["accuracy"]) == (0, pytest.approx(accuracy))


def test_everything_is_trained_gently_and_what_comes_of_it_is_an_ordinary_model(pictures, tmp_path, capsys):
    out = tmp_path / "run"
    assert finetune("toy-pair", pictures, out) == 0
    said = capsys.readouterr().err
    assert "strategy: full on cpu" in said
    assert "all is trained gently from there" in said
    written = yaml.safe_load((out / "config.yaml").read_text())
    assert (written["strategy"], written["head"], written["batchnorm"]) == ("full", "zero-shot", "frozen")
    assert written["lr"] == pytest.approx(0.005 / 16, rel=0.05), "1e-5 at CLIP's 512 dimensions, more for narrow ones"
    start = Checkpoints(out / "checkpoints").load("best")[0]["model"]
    assert start["head.scale"] == pytest.approx(load_backbone("toy-pair").backbone.logit_scale.exp().item())
    assert run(["evaluate", str(out)]) == 0
    assert run(["predict", str(out), str(pictures / "val" / "dot" / "0.png")]) == 0
    assert run(["export", str(out), "-o", str(tmp_path / "exported")]) == 0
    assert "same answer on 100.00%" in capsys.readouterr().out


def test_it_can_be_trained_on_features_too(pictures, tmp_path, capsys):
    assert finetune("toy-pair", pictures, tmp_path / "run", "--strategy", "lp-ft", "--head-epochs", "2") == 0
    assert "8 heads side by side" in capsys.readouterr().err


def test_a_run_that_goes_on_ends_the_same(weights, pictures, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    options = ("--save-every", "1", "--epochs", "8", "--wise-ft", "0.5")
    assert finetune("toy-pair", pictures, whole, *options) == 0
    command = ["finetune", "toy-pair", "--data", str(pictures), "-o", str(cut), "--head", "zero-shot", *QUICK, *options]
    kill_after_first_checkpoint([str(weights), *command], cut, script=Path(tower_toys.__file__))
    assert run(["finetune", "--resume", str(cut)]) == 0
    for name in ("backbone", "head"):
        file = Path("model") / f"{name}.safetensors"
        assert (cut / file).read_bytes() == (whole / file).read_bytes()


def test_a_pair_of_any_two_backbones_lends_its_projection(weights, pictures, tmp_path, registry):
    """Its towers are ordinary models, whose features are not in the space of the texts."""
    name = "dual/test_resnet+bert_tiny"
    spec = identify_weights(name, weights="none", registry=registry, size=32, max_length=12).input
    torch.manual_seed(3)
    input = dataclasses.replace(spec, assets=str(weights / tower_toys.PACKAGE))
    loaded = load_backbone(name, weights="none", registry=registry, input=input)
    pair: Any = loaded.backbone
    run_folder = tower_toys.leave_run(tmp_path / "pairs", loaded)
    out = tmp_path / "run"
    assert finetune(run_folder, pictures, out, "--wise-ft", "0", "--epochs", "1") == 0
    trained = load_trained(out, registry)
    assert trained.meta["model_id"] == "vision/test_resnet"
    head: Any = trained.task.head
    assert torch.equal(head.projection, pair.towers["image"].projection.weight)
    array = trained.pipeline.decode(png(picture(1, 7)))
    batch = trained.pipeline.prepare({"image": torch.from_numpy(array)[None], "index": torch.arange(1)})
    with torch.no_grad():
        logits = head(trained.task.backbone(batch))
        cosines = pair.eval().encode("image", batch) @ head.linear.weight.T
    assert torch.allclose(logits, cosines * pair.logit_scale.exp(), atol=1e-4)
    assert run(["export", str(out), "-o", str(tmp_path / "exported")]) == 0


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        ("toy-alone", [], "belongs to no text tower"),
        ("toy-pair", ["--weights", "none"], "Towers of random numbers know no class names"),
        ("tuned", [], "holds one tower alone"),
    ],
)
def test_models_without_texts_are_refused(model, options, words, pictures, tmp_path, capsys):
    if model == "tuned":
        model = tmp_path / "tuned"
        command = ["finetune", "toy-pair", "--data", str(pictures), "-o", str(model), *QUICK, "--strategy", "full"]
        assert run(command) == 0
        capsys.readouterr()
    assert finetune(model, pictures, tmp_path / "run", *options) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_texts_have_no_zero_shot_head(tmp_path, capsys):
    (tmp_path / "texts.csv").write_text("text,label\na dot,x\nthe sea,y\n" * 8)
    assert finetune("toy-text", tmp_path / "texts.csv", tmp_path / "run") == 2


def test_logits_are_scaled_cosines():
    torch.manual_seed(0)
    head = ZeroShotHead(5, ("a", "b", "c"))
    vectors, pooled = F.normalize(torch.randn(3, 5), dim=-1), torch.randn(4, 5)
    head.begin(vectors, 20.0)
    logits = head(Features(pooled))
    for row in range(4):
        for column in range(3):
            wanted = 20 * torch.cosine_similarity(pooled[row], vectors[column], dim=0)
            assert logits[row, column].item() == pytest.approx(wanted.item(), abs=1e-5)
    assert torch.allclose(head(Features(pooled * 1000)), logits, atol=1e-4), "their length does not matter"
    assert torch.isfinite(head(Features(torch.zeros(1, 5)))).all()
    assert torch.isfinite(head(Features(torch.full((1, 5), 6e4).half()))).all()


@pytest.mark.parametrize("width", [5, 7])
def test_it_is_saved_with_its_projection(width):
    torch.manual_seed(0)
    head, fresh = ZeroShotHead(5, ("a", "b")), ZeroShotHead(5, ("a", "b"))
    head.begin(torch.randn(2, width), 10.0, torch.randn(width, 5))
    fresh.load_state_dict(head.state_dict())
    pooled = Features(torch.randn(3, 5))
    assert torch.equal(head(pooled), fresh(pooled))
