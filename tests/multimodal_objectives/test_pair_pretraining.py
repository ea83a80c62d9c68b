from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from killing import kill_after_first_checkpoint
from PIL import Image
from safetensors.torch import load_file

import zoo
from zoo.cli.main import run
from zoo_registry.errors import UsageError

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "white": (240, 240, 240)}
MODEL = "dual/test_vit+bert_tiny"


def write_pairs(folder: Path, train: int = 48, val: int = 12) -> Path:
    """Pictures of two halves, and what they look like."""
    random = np.random.default_rng(0)
    folder.mkdir()
    with (folder / "pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "caption", "split"])
        for number in range(train + val):
            left, right = random.choice(list(COLOURS), 2, replace=False)
            picture = np.zeros((32, 32, 3), np.uint8)
            picture[:, :16], picture[:, 16:] = COLOURS[left], COLOURS[right]
            picture[:2] = random.integers(0, 255, 3)
            Image.fromarray(picture).save(folder / f"{number}.png")
            writer.writerow([f"{number}.png", f"{left} left of {right}", "train" if number < train else "val"])
    return folder / "pairs.csv"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs") / "data")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def pretrain(pairs: Path, output: Path, objective: str = "clip", **settings: Any) -> dict[str, Any]:
    options = {"size": 32, "epochs": 3, "batch_size": 16, "device": "cpu", "output": output, **settings}
    return zoo.pretrain(MODEL, str(pairs), objective, **options).metrics


@pytest.mark.parametrize("objective", ["clip", "siglip"])
def test_pairs_are_learnt_and_the_run_is_a_model(
    pairs: Path, tmp_path: Path, objective: str, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = pretrain(pairs, tmp_path / "run", objective)
    for name in ("image_to_text_recall_at_1", "text_to_image_recall_at_10", "mean_recall", "loss"):
        assert name in metrics
    said = capsys.readouterr().err
    assert "weights: random numbers" in said
    run = tmp_path / "run"
    assert (run / "report.html").is_file()
    assert (run / "model" / "tokenizer.json").is_file()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert any("logit_scale" in line for line in lines)
    state = load_file(run / "model" / "backbone.safetensors")
    assert ("logit_bias" in state) == (objective == "siglip")


def test_a_run_of_pairs_is_gone_on_with_and_finetuned(pairs: Path, tmp_path: Path) -> None:
    pretrain(pairs, tmp_path / "base", "siglip", epochs=1)
    base = load_file(tmp_path / "base" / "model" / "backbone.safetensors")
    zoo.pretrain(
        str(tmp_path / "base"),
        str(pairs),
        "siglip",
        output=tmp_path / "more",
        epochs=1,
        batch_size=16,
        lr=1e-12,
        device="cpu",
    )
    more = load_file(tmp_path / "more" / "model" / "backbone.safetensors")
    assert more.keys() == base.keys()
    for key, tensor in base.items():
        if tensor.is_floating_point() and "running" not in key:
            torch.testing.assert_close(more[key], tensor, atol=1e-6, rtol=0)


def test_settings_that_do_not_fit_are_refused(pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is for image-text"):
        zoo.pretrain("test_vit", str(pairs), "clip", output=tmp_path / "a")
    with pytest.raises(UsageError, match="audio"):
        pretrain(pairs, tmp_path / "b", options={"lock": "audio"})
    with pytest.raises(UsageError, match="would hold one"):
        pretrain(pairs, tmp_path / "c", batch_size=1)
    assert not (tmp_path / "c").exists()


def test_a_killed_run_of_pairs_goes_on_exactly(pairs: Path, tmp_path: Path) -> None:
    words = ["--objective", "clip", "--data", str(pairs), "--size", "32", "--epochs", "3", "--batch-size", "16"]
    options = ["pretrain", MODEL, *words, "--micro-batch", "8", "--save-every", "2", "--device", "cpu"]
    kill_after_first_checkpoint([*options, "-o", str(tmp_path / "cut")], tmp_path / "cut")
    for arguments in (["pretrain", "--resume", str(tmp_path / "cut")], [*options, "-o", str(tmp_path / "whole")]):
        assert run(arguments) == 0
    one, other = (load_file(tmp_path / name / "model" / "backbone.safetensors") for name in ("cut", "whole"))
    for key, tensor in one.items():
        assert torch.equal(tensor, other[key]), key


@pytest.mark.parametrize(
    ("model", "columns", "sides", "hears"),
    [
        ("dual/conformer+transformer", ("audio", "caption"), ("audio", "text"), (16_000, 20.0)),
        ("dual/test_vit+spectrogram/test_vit", ("image", "audio"), ("image", "audio"), (8_000, 0.5)),
    ],
)
def test_any_two_modalities_are_learnt_and_gone_on_with(
    tmp_path: Path, model: str, columns: tuple[str, str], sides: tuple[str, str], hears: tuple[int, float]
) -> None:
    """Tones of two pitches, what they are called and what colour they have."""
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "split"])
        for number in range(20):
            high = number % 2
            wave = 0.3 * np.sin(2 * np.pi * (300 + 900 * high + 5 * number) * np.arange(4000) / 8000)
            soundfile.write(tmp_path / f"{number}.wav", wave, 8000)
            Image.new("RGB", (32, 32), ("red", "blue")[high]).save(tmp_path / f"{number}.png")
            words = {"audio": f"{number}.wav", "caption": ("low", "high")[high] + " tone", "image": f"{number}.png"}
            writer.writerow([*(words[column] for column in columns), "val" if number > 15 else "train"])
    settings = {"epochs": 1, "batch_size": 8, "device": "cpu"}
    run = tmp_path / "run"
    metrics = zoo.pretrain(model, str(tmp_path / "pairs.csv"), "clip", output=run, **settings).metrics
    assert {f"{sides[0]}_to_{sides[1]}_recall_at_1", f"{sides[1]}_to_{sides[0]}_recall_at_1"} < set(metrics)
    parts = json.loads((run / "model" / "model.json").read_text())["input"]["parts"]
    heard = next(part for part in parts if part["modality"] == "audio")
    assert (heard["rate"], heard["seconds"]) == hears  # of a spectrogram found out from the recordings
    more = zoo.pretrain(str(run), str(tmp_path / "pairs.csv"), "clip", output=tmp_path / "more", **settings)
    kept = json.loads((more.run / "model" / "model.json").read_text())["input"]["parts"]
    assert [part["seconds"] for part in kept] == [part["seconds"] for part in parts]
