"""``--wise-ft``: what is kept, what is said of it, and that a killed run ends the same."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
import tower_toys
from finetuning import write_photos
from killing import kill_after_first_checkpoint
from safetensors.torch import load_file

import zoo
from zoo.cli.main import run
from zoo.interpolation import interpolate

MODEL = "toy-image"
QUICK = ["--device", "cpu", "--batch-size", "8", "--epochs", "2", "--head-epochs", "3", "--lr", "3e-3"]


def command(data: Path, out: Path, *options: str) -> list[str]:
    return ["finetune", MODEL, "--data", str(data), "-o", str(out), *QUICK, *options]


def kept(out: Path) -> dict[str, torch.Tensor]:
    """The run's model as one state."""
    parts = {part: load_file(out / "model" / f"{part}.safetensors") for part in ("backbone", "head")}
    prefixes = {"backbone": "backbone.module.", "head": "head."}
    return {prefixes[part] + name: value for part, state in parts.items() for name, value in state.items()}


def checkpoint(out: Path, name: str) -> dict[str, torch.Tensor]:
    return load_file(out / "checkpoints" / name / "model.safetensors")


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("data") / "photos", train=16, val=8)


@pytest.mark.parametrize("strategy", ["full", "lp-ft"])
def test_the_kept_weights_lie_between_start_and_finetuned(strategy, data, tmp_path, capsys):
    out = tmp_path / "run"
    # Statistics of batch normalisation that are trained are mixed like weights.
    assert run(command(data, out, "--strategy", strategy, "--wise-ft", "0.4", "--batchnorm", "train")) == 0
    said = capsys.readouterr().err
    start, best = checkpoint(out, "start"), checkpoint(out, "best")
    assert not torch.equal(start["backbone.module.0.weight"], best["backbone.module.0.weight"])
    assert not torch.equal(start["backbone.module.1.running_mean"], best["backbone.module.1.running_mean"])
    assert_same(kept(out), interpolate(start, best, 0.4))
    noted = json.loads((out / "evaluation.json").read_text())["wise_ft"]
    assert noted == json.loads((out / "manifest.json").read_text())["wise_ft"]
    assert [point["alpha"] for point in noted["points"]] == [0.0, 0.4, 1.0]
    accuracies = [point["metrics"]["accuracy"] for point in noted["points"]]
    table = [line for line in said.splitlines() if line.startswith("wise-ft:")]
    assert table[0].split() == ["wise-ft:", "alpha", "accuracy"]
    assert [float(line.split()[2]) for line in table[1:]] == pytest.approx(accuracies, abs=1e-4)
    assert "kept" in table[2]
    final = json.loads((out / "evaluation.json").read_text())["metrics"]["accuracy"]
    assert final == pytest.approx(accuracies[1]), "the run's figures are those of the mixture"
    events = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    mains = [one for one in events if one["event"] == "evaluation" and one["stage"] == "main"]
    assert accuracies[2] == pytest.approx(max(one["accuracy"] for one in mains))
    if strategy == "lp-ft":  # which measures its start itself
        assert accuracies[0] == pytest.approx(mains[0]["accuracy"])


@pytest.mark.parametrize(("alpha", "end"), [("0", "start"), ("1", "best")])
def test_at_the_ends_nothing_is_mixed(alpha, end, data, tmp_path):
    result = zoo.finetune(
        MODEL,
        str(data),
        output=tmp_path / "run",
        strategy="full",
        wise_ft=float(alpha),
        epochs=1,
        lr=3e-3,
        device="cpu",
        batch_size=8,
    )
    assert_same(kept(result.run), checkpoint(result.run, end))
    assert len(json.loads((result.run / "evaluation.json").read_text())["wise_ft"]["points"]) == 2


def test_a_killed_run_mixes_in_what_it_began_with(weights, data, tmp_path):
    options = ("--strategy", "full", "--wise-ft", "0.5", "--save-every", "1", "--epochs", "6")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run(command(data, whole, *options)) == 0
    script = Path(tower_toys.__file__)
    kill_after_first_checkpoint([str(weights), *command(data, cut, *options)], cut, script=script)
    assert json.loads((cut / "manifest.json").read_text())["status"] == "running"
    assert run(["finetune", "--resume", str(cut)]) == 0
    for name in ("backbone", "head"):
        one, other = (hashlib.sha256((out / "model" / f"{name}.safetensors").read_bytes()) for out in (whole, cut))
        assert one.hexdigest() == other.hexdigest()
    assert json.loads((cut / "evaluation.json").read_text()) == json.loads((whole / "evaluation.json").read_text())


def test_a_run_without_it_keeps_no_start(data, tmp_path):
    assert run(command(data, tmp_path / "run", "--strategy", "full")) == 0
    assert not (tmp_path / "run" / "checkpoints" / "start").exists()
    assert "wise_ft" not in json.loads((tmp_path / "run" / "evaluation.json").read_text())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--wise-ft", "1.5"], "wise_ft"),
        (["--wise-ft", "-0.1"], "wise_ft"),
        (["--wise-ft", "nan"], "wise_ft"),
        (["--wise-ft", "0.5", "--strategy", "head"], "nothing to mix"),
    ],
)
def test_wrong_use(options, words, data, tmp_path, capsys):
    assert run(command(data, tmp_path / "run", *options)) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
