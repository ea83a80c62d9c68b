"""Whole pretraining runs on sound: what they learn, leave behind and go on from, also after a kill."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pretraining_toys
import pytest
from killing import kill_after_first_checkpoint
from pretraining_toys import toy_registry, write_melodies

import zoo
from zoo.cli.main import run

SETTINGS = {
    "wav2vec2": ["-O", "distractors=10"],
    "hubert": ["-O", "clusters=8"],
    "mask_spectrogram": ["-O", "span=3"],
    "wavenet": ["--seconds", "0.1"],
}
MODELS = {name: "toys/guesser" if name == "wavenet" else "toys/masker" for name in SETTINGS}


@pytest.fixture(scope="module")
def melodies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_melodies(tmp_path_factory.mktemp("data") / "melodies")


@pytest.fixture(autouse=True)
def with_toys(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = toy_registry()
    monkeypatch.setattr(zoo, "default_registry", lambda: registry)


def command(name: str, data: Path, out: Path, *options: str) -> list[str]:
    start = ["pretrain", MODELS[name], "--objective", name, "--data", str(data), "--output", str(out), "--lr", "5e-3"]
    return [*start, "--device", "cpu", "--batch-size", "8", *SETTINGS[name], *options]


def evaluations(out: Path) -> list[dict]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == "evaluation"]


def model_hash(out: Path) -> str:
    return hashlib.sha256((out / "model" / "backbone.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("name", SETTINGS)
def test_a_run_learns_and_hands_over(name, melodies, tmp_path, capsys):
    base, tuned = tmp_path / "base", tmp_path / "tuned"
    assert run(command(name, melodies, base, "--epochs", "12", "--json")) == 0
    answer = json.loads(capsys.readouterr().out)
    figures = evaluations(base)
    assert figures[-1]["loss"] < 0.97 * figures[0]["loss"]
    assert answer["metrics"]["loss"] == pytest.approx(min(one["loss"] for one in figures))
    better = {
        "wav2vec2": lambda made: made["codes_used"] > 0.3 and made["accuracy"] > 0.1,
        "hubert": lambda made: made["masked_accuracy"] > made["majority_accuracy"],
        "mask_spectrogram": lambda made: made["relative_error"] < 1,
        "wavenet": lambda made: made["bits_per_sample"] < 7.5,
    }
    assert better[name](answer["metrics"]), answer["metrics"]
    manifest = json.loads((base / "manifest.json").read_text())
    assert manifest["modality"] == "audio"
    assert manifest["data"]["sizes"]["train"] >= 40
    assert (base / "report.html").stat().st_size > 1000
    assert run(["finetune", str(base), "--data", str(melodies), "--epochs", "1", "--output", str(tuned)]) == 0
    manifest = json.loads((tuned / "manifest.json").read_text())
    assert manifest["weights"]["id"] == str(base)


@pytest.mark.parametrize("name", SETTINGS)
def test_killed_and_resumed_equals_left_alone(name, melodies, tmp_path):
    options = ["--epochs", "3", "--save-every", "1"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run(command(name, melodies, whole, *options)) == 0
    script = Path(pretraining_toys.__file__)
    kill_after_first_checkpoint(command(name, melodies, cut, *options), cut, script=script)
    assert run(["pretrain", "--resume", str(cut)]) == 0
    assert model_hash(cut) == model_hash(whole)
    assert evaluations(cut)[-1]["loss"] == evaluations(whole)[-1]["loss"]


def test_micro_batches_do_not_change_a_run(melodies, tmp_path):
    curves = []
    for micro in ("8", "3"):
        out = tmp_path / micro
        assert run(command("hubert", melodies, out, "--epochs", "2", "--micro-batch", micro)) == 0
        curves.append([one["loss"] for one in evaluations(out)])
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)


def test_a_coupled_batch_is_not_split(melodies, tmp_path, capsys):
    assert run(command("wav2vec2", melodies, tmp_path / "a", "--epochs", "1", "--micro-batch", "4")) == 2
    assert "couples the samples" in capsys.readouterr().err
    options = ["--epochs", "1", "--micro-batch", "4", "-O", "diversity=0"]
    assert run(command("wav2vec2", melodies, tmp_path / "b", *options)) == 0


def test_batches_by_seconds_and_silent_clips(melodies, tmp_path):
    import numpy as np
    import soundfile

    data = write_melodies(tmp_path / "data", train=12, val=4)
    soundfile.write(data / "train" / "a" / "silent.wav", np.zeros(2000), 8000)
    soundfile.write(data / "train" / "a" / "short.wav", np.zeros(3), 8000)
    for name in ("wav2vec2", "hubert", "mask_spectrogram"):
        start = [one for one in command(name, data, tmp_path / name) if one != "8"]
        start.remove("--batch-size")
        assert run([*start, "--epochs", "1", "--batch-seconds", "2"]) == 0


@pytest.mark.parametrize(
    ("model", "objective", "options", "message", "code"),
    [
        ("toys/guesser", "hubert", [], "Maskable", 2),
        ("toys/masker", "wavenet", [], "Autoregressive", 2),
        ("toys/masker", "mlm", [], "is for text", 2),
        ("toys/masker", "hubert", ["-O", "mels=3"], "no setting", 2),
        ("toys/masker", "hubert", ["-O", "clusters=10000", "-O", "frames=10000"], "too few for 10000 clusters", 6),
    ],
)
def test_what_does_not_go_together(model, objective, options, message, code, melodies, tmp_path, capsys):
    base = ["pretrain", model, "--objective", objective, "--data", str(melodies), "--epochs", "1"]
    assert run([*base, "--output", str(tmp_path / "out"), *options]) == code
    assert message in capsys.readouterr().err
