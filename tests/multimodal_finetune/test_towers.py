"""One side of a model of pairs, finetuned as an ordinary model: by name, out of a run of pairs, and what goes wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from texting import write_reviews
from tower_toys import tower_state

from zoo.cli.main import run
from zoo.config import FinetuneConfig, PretrainConfig
from zoo.launch import identify
from zoo.towers import one_side
from zoo.weights import identify_weights, load_backbone
from zoo_registry.errors import UsageError, WeightsError

QUICK = ("--device", "cpu", "--epochs", "1", "--head-epochs", "2", "--batch-size", "8")


def finetune(model: object, data: object, out: Path, *options: str) -> int:
    return run(["finetune", str(model), "--data", str(data), "-o", str(out), *QUICK, *options])


def config(model: object, data: object = "pictures", **options: object) -> FinetuneConfig:
    return FinetuneConfig(model=str(model), data=str(data), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["toy-pair", "toy-pair@made", "toys/toy-pair"])
def test_a_pair_means_its_first_tower_with_the_same_weights(name, pictures, tmp_path, capsys):
    assert finetune(name, pictures, tmp_path / "run") == 0
    said = capsys.readouterr().err
    assert "model: the image tower of toys/toy-pair, toys/toy-image (the other side: toys/toy-text)" in said
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (written["model"], written["weights"]) == ("toys/toy-image", "made")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["model_id"] == "toys/toy-image"
    assert manifest["weights"]["id"] == "toys/toy-image@made"
    assert run(["evaluate", str(tmp_path / "run")]) == 0
    assert run(["finetune", "--resume", str(tmp_path / "run")]) == 0


def test_a_run_of_pairs_gives_its_tower_its_own_weights(pairs_run, pictures, registry):
    made = one_side(config(pairs_run, pictures), registry)
    assert (made.model, made.weights) == ("toys/toy-image", str(pairs_run))
    loaded = load_backbone(made.model, weights=made.weights, registry=registry)
    whole = load_file(pairs_run / "model" / "backbone.safetensors")
    for name, value in loaded.backbone.module.state_dict().items():
        assert torch.equal(value, whole[f"towers.image.module.{name}"])
    assert loaded.input.size == (3, 24, 24)
    assert loaded.sha256 == json.loads((pairs_run / "model/model.json").read_text())["sha256"]["backbone.safetensors"]


def test_a_run_of_pairs_is_finetuned_and_goes_on_as_an_ordinary_model(pairs_run, pictures, tmp_path, capsys):
    assert finetune(pairs_run, pictures, tmp_path / "first") == 0
    assert "model: the image tower of toys/toy-pair" in capsys.readouterr().err
    written = yaml.safe_load((tmp_path / "first" / "config.yaml").read_text())
    assert (written["model"], written["weights"]) == ("toys/toy-image", str(pairs_run.resolve()))
    assert finetune(tmp_path / "first", pictures, tmp_path / "second") == 0
    assert "model: the" not in capsys.readouterr().err, "the tower is no pair"
    assert run(["predict", str(tmp_path / "second"), str(pictures / "val" / "dot" / "0.png")]) == 0
    assert run(["export", str(tmp_path / "second"), "-o", str(tmp_path / "exported")]) == 0


def test_the_text_tower_of_a_run_is_a_text_model(pairs_run, tmp_path):
    data = write_reviews(tmp_path / "reviews", train=12, val=6)
    assert finetune("toy-text", data, tmp_path / "run", "--weights", str(pairs_run)) == 0
    assert (tmp_path / "run" / "model" / "tokenizer.json").is_file()
    assert run(["predict", str(tmp_path / "run"), "a photo of a dot"]) == 0
    assert finetune("toy-text", data, tmp_path / "named") == 0


def test_a_run_of_pairs_goes_on_as_a_pair(pairs_run, registry):
    whole = identify_weights("toy-pair", weights=str(pairs_run), registry=registry, max_length=8, size=16)
    assert whole.input.assets == str((pairs_run / "model").resolve())
    assert [part.size for part in whole.input.parts] == [(3, 16, 16), (8,)]


def test_a_registered_data_set_says_which_side(registry):
    assert one_side(config("toy-pair", "sst2"), registry).model == "toys/toy-text"
    assert one_side(config("toy-pair", "cats_dogs"), registry).model == "toys/toy-image"
    assert one_side(config("toy-pair", "nothing-known"), registry).model == "toys/toy-image"
    assert one_side(config("toy-alone", "sst2"), registry) == config("toy-alone", "sst2")


@pytest.mark.parametrize("broken", ["flipped", "cut", "foreign"])
def test_weights_that_are_not_the_runs_are_refused(broken, pairs_run, pictures, tmp_path, registry, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(pairs_run, copy)
    file = copy / "model" / "backbone.safetensors"
    data = bytearray(file.read_bytes())
    if broken == "flipped":
        data[-1] ^= 1
        file.write_bytes(data)
    elif broken == "cut":
        file.write_bytes(data[: len(data) // 2])
    else:
        description = json.loads((copy / "model" / "model.json").read_text())
        description["input"]["parts"] = []
        (copy / "model" / "model.json").write_text(json.dumps(description))
    assert finetune(copy, pictures, tmp_path / "run") == 5
    assert not (tmp_path / "run").exists()
    said = capsys.readouterr().err
    assert ("what the image side takes" if broken == "foreign" else "sha256") in said


def test_a_run_of_pairs_fits_no_other_model(pairs_run, registry):
    with pytest.raises(WeightsError, match="one of its towers: toys/toy-image or toys/toy-text") as caught:
        identify_weights("toy-alone", weights=str(pairs_run), registry=registry)
    assert "toys/toy-pair" in caught.value.problem


def test_a_folder_with_the_name_of_a_model_is_not_taken_for_it(pairs_run, tmp_path, monkeypatch, registry):
    """As an export leaves one."""
    (tmp_path / "toy-pair").mkdir()
    shutil.copy(pairs_run / "model" / "model.json", tmp_path / "toy-pair" / "model.json")
    monkeypatch.chdir(tmp_path)
    assert one_side(config("toy-pair"), registry).weights == "made"
    assert one_side(config(pairs_run / "model"), registry).weights == str(pairs_run / "model")


def test_a_pair_without_weights_says_what_to_do(registry):
    with pytest.raises(UsageError, match="take the tower alone: vision/test_resnet"):
        one_side(config("dual/test_resnet+bert_tiny"), registry)
    random = one_side(config("dual/test_resnet+bert_tiny", weights="none"), registry)
    assert (random.model, random.weights) == ("vision/test_resnet", "none")


@pytest.mark.parametrize("asked", [{"batch_tokens": 64}, {"batch_seconds": 3.0}])
def test_pairs_are_counted(asked, registry):
    with pytest.raises(UsageError, match="toys/toy-pair takes pairs, which are counted"):
        identify(PretrainConfig(model="toy-pair", data="d", **asked), registry)


@pytest.mark.parametrize(
    ("asked", "what"), [({"seconds": 2.0}, "audio"), ({"size": 0}, "0 pixels"), ({"max_length": 0}, "0 tokens")]
)
def test_sizes_of_neither_side_are_refused(asked, what, registry):
    with pytest.raises(UsageError, match=what):
        identify_weights("toy-pair", registry=registry, **asked)


def test_a_cut_state_is_that_of_the_tower():
    state = {"towers.image.module.0.weight": torch.ones(2), "towers.text.module.0.weight": torch.zeros(3)}
    assert list(tower_state(state, "text")) == ["0.weight"]
