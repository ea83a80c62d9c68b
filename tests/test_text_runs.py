"""Whole runs on texts, every task: trained, resumed, measured, exported and served."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from killing import kill_after_first_checkpoint
from texting import TINY, finetune, write_questions, write_reviews, write_tagged

import zoo
from zoo.cli.main import run
from zoo.trained import load_trained


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    return write_reviews(tmp_path / "reviews")


def model_hash(folder: Path) -> str:
    files = sorted((folder / "model").glob("*.safetensors"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_run_holds_its_tokenizer_and_serves_texts(reviews, tmp_path, capsys):
    out, exported = tmp_path / "run", tmp_path / "exported"
    assert finetune(reviews, out, "--epochs", "12", "--lr", "2e-3", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["metrics"]["accuracy"] >= 0.9
    assert (out / "model" / "tokenizer.json").is_file()
    assert (out / "report.html").stat().st_size > 1000
    trained = load_trained(out)
    assert trained.labels == ("bad", "good")
    assert run(["export", str(out), "-o", str(exported)]) == 0
    capsys.readouterr()
    answers = []
    for target in (out, exported):
        assert run(["predict", str(target), "a lovely warm film", "a grim and cold story", "--json"]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert [row["label"] for row in answers[0]] == ["good", "bad"]
    for one, other in zip(*answers, strict=True):
        assert one["label"] == other["label"]
        assert one["score"] == pytest.approx(other["score"], abs=1e-4)
    assert zoo.evaluate(exported, reviews)["metrics"] == pytest.approx(zoo.evaluate(out)["metrics"], abs=1e-3)


def test_accumulation_does_not_change_the_loss_curve(reviews, tmp_path):
    # A network without dropout: its masks follow the micro-batch.
    options = ["--epochs", "2", "--batch-size", "8", "--log-every", "1"]
    curves = []
    for micro in ("8", "2"):
        name = tmp_path / micro
        assert finetune(reviews, name, *options, "--micro-batch", micro, model="pythia_14m") == 0
        curves.append([line["loss"] for line in lines(name) if line["event"] == "train"])
    np.testing.assert_allclose(curves[0], curves[1], atol=1e-6, rtol=1e-6)


def test_killed_and_resumed_equals_left_alone(reviews, tmp_path):
    options = ["--epochs", "4", "--batch-size", "8", "--save-every", "1", "--batch-tokens", "96"]
    assert finetune(reviews, tmp_path / "whole", *options) == 0
    out = tmp_path / "cut"
    command = ["finetune", "bert_tiny", "--data", str(reviews), "--weights", "none", *TINY, *options]
    kill_after_first_checkpoint([*command, "--output", str(out)], out)
    assert run(["finetune", "--resume", str(out)]) == 0
    assert model_hash(out) == model_hash(tmp_path / "whole")


@pytest.mark.parametrize("model", ["transformer", "lstm", "gru"])
def test_networks_from_scratch_train_and_export(reviews, tmp_path, model):
    out = tmp_path / "run"
    assert finetune(reviews, out, "--epochs", "1", model=model) == 0
    assert run(["export", str(out), "-o", str(tmp_path / "exported")]) == 0


def test_entities(tmp_path, capsys):
    data, out = write_tagged(tmp_path / "tagged"), tmp_path / "run"
    assert finetune(data, out, "--epochs", "25", "--lr", "3e-3", "--json") == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["f1"] >= 0.9
    assert run(["export", str(out), "-o", str(tmp_path / "exported")]) == 0
    capsys.readouterr()
    for target in (out, tmp_path / "exported"):
        assert run(["predict", str(target), "the film mr lovely grim in cold", "--json"]) == 0
        (row,) = json.loads(capsys.readouterr().out)
        found = {(entity["label"], entity["text"]) for entity in row["entities"]}
        assert found == {("person", "lovely grim"), ("place", "cold")}


def test_questions(tmp_path, capsys):
    data, out = write_questions(tmp_path / "questions"), tmp_path / "run"
    assert finetune(data, out, "--epochs", "2", "--max-length", "24") == 0
    metrics = json.loads((out / "manifest.json").read_text())["metrics"]
    assert {"exact_match", "f1"} <= set(metrics)
    assert run(["export", str(out), "-o", str(tmp_path / "exported")]) == 0
    answers = []
    for target in (out, tmp_path / "exported"):
        capsys.readouterr()
        context = "a film . the house is in cold . more"
        assert run(["predict", str(target), "where is the house ?", "--pair", context, "--json"]) == 0
        answers.append(json.loads(capsys.readouterr().out)[0]["label"])
        assert answers[-1] in context
    assert answers[0] == answers[1]


def test_pretraining_is_handed_over(reviews, tmp_path, capsys):
    base, tuned = tmp_path / "base", tmp_path / "tuned"
    command = ["pretrain", "bert_tiny", "--objective", "mlm", "--data", str(reviews), *TINY, "--epochs", "2", "--json"]
    assert run([*command, "-O", "whole_word=true", "--output", str(base)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["metrics"]["perplexity"] > 1
    assert run(["finetune", str(base), "--data", str(reviews), "--epochs", "1", "--output", str(tuned)]) == 0
    manifest = json.loads((tuned / "manifest.json").read_text())
    assert manifest["weights"]["id"] == str(base)
    assert (tuned / "model" / "tokenizer.json").read_text() == (base / "model" / "tokenizer.json").read_text()


@pytest.mark.parametrize(
    ("model", "objective"),
    [("bert_tiny", "mlm"), ("bert_tiny", "rtd"), ("bert_tiny", "denoise"), ("pythia_14m", "causal")],
)
def test_pretraining_resumes_exactly(reviews, tmp_path, model, objective):
    options = ["--objective", objective, "--data", str(reviews), *TINY, "--batch-size", "8", "--save-every", "1"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run(["pretrain", model, *options, "--epochs", "2", "--output", str(whole)]) == 0
    kill_after_first_checkpoint(["pretrain", model, *options, "--epochs", "2", "--output", str(cut)], cut)
    assert run(["pretrain", "--resume", str(cut)]) == 0
    assert model_hash(cut) == model_hash(whole)
