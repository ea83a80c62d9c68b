"""Whole runs: embeddings that are trained, measured and used, and a language model that is finetuned."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
from texting import BAD, FILLER, GOOD, finetune, sentence

import zoo
from zoo.cli.main import run


def write_pairs(folder: Path, names: tuple[str, ...], *, train: int = 48, val: int = 16) -> Path:
    """Anchors and positives that share two words; and a score of 0 to 5, or a negative, where named."""
    folder.mkdir(parents=True)
    words = [*GOOD, *BAD, *FILLER]
    for split, count, start in (("train", train, 0), ("val", val, 500)):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(names)
            for i in range(start, start + count):
                one, two = words[i % 20], words[(i // 20 + i + 7) % 20]
                other = f"{words[(i + 3) % 20]} and {words[(i + 5) % 20]} {i}"
                same = i % 2
                last = {"score": same * 5.0, "negative": other}.get(names[-1])
                second = f"{two} of {one} {i}" if same or names[-1] != "score" else other
                writer.writerow([f"the {one} {two} {i}", second, *([last] if last is not None else [])])
    return folder


@pytest.mark.parametrize("names", [("anchor", "positive"), ("anchor", "positive", "negative")])
def test_pairs_are_trained_measured_and_embedded(
    names: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write_pairs(tmp_path / "data", names), tmp_path / "run"
    assert finetune(data, out, "--epochs", "4", "--lr", "1e-3", "--batch-size", "16", "--json") == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert set(metrics) == {"recall_at_1", "recall_at_5", "recall_at_10", "mrr"}
    assert metrics["recall_at_10"] > 10 / 16  # what guessing finds
    assert zoo.evaluate(out)["metrics"] == pytest.approx(metrics, abs=1e-6)
    (tmp_path / "texts.txt").write_text("the lovely film\nthe lovely film\na grim house\n")
    vectors = tmp_path / "vectors.parquet"
    assert run(["embed", str(out), "--data", str(tmp_path / "texts.txt"), "-o", str(vectors), "--device", "cpu"]) == 0
    found = np.array(parquet.read_table(vectors)["embedding"].to_pylist())
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert found[0] @ found[1] == pytest.approx(1, abs=1e-5)
    assert found[0] @ found[2] < 0.9999
    best = out / "checkpoints" / "best"
    assert run(["embed", str(best), "--data", str(tmp_path / "texts.txt"), "-o", str(tmp_path / "b.parquet")]) == 0
    assert np.allclose(np.array(parquet.read_table(tmp_path / "b.parquet")["embedding"].to_pylist()), found, atol=1e-6)


def test_scores_are_learnt_as_cosines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_pairs(tmp_path / "data", ("sentence1", "sentence2", "score"))
    out = tmp_path / "run"
    options = ["--task", "embedding", "--epochs", "4", "--lr", "1e-3", "--batch-size", "16", "--json"]
    assert finetune(data, out, *options) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert set(metrics) == {"spearman", "pearson"}
    assert metrics["spearman"] > 0.3


def test_a_run_with_another_head_gives_pooled_features(tmp_path: Path) -> None:
    from texting import write_reviews

    out = tmp_path / "run"
    data = write_reviews(tmp_path / "reviews", train=16, val=8)
    assert finetune(data, out, "--epochs", "1") == 0
    assert run(["embed", str(out), "--data", str(data), "-o", str(tmp_path / "v.parquet"), "--device", "cpu"]) == 0
    table = parquet.read_table(tmp_path / "v.parquet").to_pydict()
    assert table["split"] == ["train"] * 16 + ["val"] * 8
    assert set(table["label"]) == {"good", "bad"}
    assert len(table["embedding"][0]) == 128


def test_a_language_model_is_finetuned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    for split, count in (("train", 32), ("val", 8)):
        rows = [{"prompt": sentence(i, GOOD), "completion": "is good" if i % 2 else "is fine"} for i in range(count)]
        (data / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    options = ["--task", "generation", "--epochs", "8", "--lr", "3e-3", "--batch-size", "8", "--json"]
    assert finetune(data, out, *options, model="pythia_14m") == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert metrics["perplexity"] < 10
    assert metrics["accuracy"] > 0.5
    assert zoo.evaluate(out)["metrics"] == pytest.approx(metrics, rel=1e-3)
    assert finetune(data, tmp_path / "encoder", *options[:4]) == 2
    assert "CausalModel" in capsys.readouterr().err
