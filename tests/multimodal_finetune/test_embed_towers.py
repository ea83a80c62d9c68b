"""``zoo embed --tower``: both sides of a pair, in one space."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
import torch

from zoo.cli.main import run
from zoo.embedding import embed
from zoo.trained import pipeline_for
from zoo.weights import load_backbone


def quiet(model: object, data: object, out: Path, *options: str) -> int:
    return run(["embed", str(model), "--data", str(data), "-o", str(out), "--device", "cpu", *options])


def vectors(path: Path) -> np.ndarray:
    return np.array(parquet.read_table(path).column("embedding").to_pylist(), np.float32)


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    (tmp_path / "captions.txt").write_text("a photo of a bar code.\na drawing of a dot.\na photo of the sea grass.\n")
    return tmp_path / "captions.txt"


@pytest.mark.parametrize("source", ["name", "tag", "run"])
def test_pictures_and_texts_lie_in_one_space(source, pairs_run, pictures, captions, tmp_path, registry):
    model = {"name": "toy-pair", "tag": "toy-pair@made", "run": pairs_run}[source]
    images, texts = tmp_path / "i.parquet", tmp_path / "t.parquet"
    assert quiet(model, pictures / "val", images, "--tower", "image", "--normalise") == 0
    assert quiet(model, captions, texts, "--tower", "text", "--normalise") == 0
    one, other = vectors(images), vectors(texts)
    assert np.allclose(np.linalg.norm(one, axis=1), 1, atol=1e-5)
    assert np.allclose(np.linalg.norm(other, axis=1), 1, atol=1e-5)
    labels = parquet.read_table(images).column("label").to_pylist()
    order = ["bar_code", "dot", "sea-grass"]
    right = (one @ other.T).argmax(1) == [order.index(label) for label in labels]
    assert right.mean() > 0.5
    loaded = load_backbone("toy-pair", weights=str(pairs_run) if source == "run" else None, registry=registry)
    pair: Any = loaded.backbone
    text = pipeline_for(loaded.model_id, loaded.input, registry).parts[1]  # type: ignore[attr-defined]
    for row, line in enumerate(captions.read_text().splitlines()):
        tokens = torch.from_numpy(text.decode(line))[None]
        with torch.no_grad():
            wanted = pair.eval().encode("text", text.prepare({"tokens": tokens, "index": torch.arange(1)}))
        assert np.abs(other[row] - wanted[0].numpy()).max() < 1e-5


def test_vectors_are_projected_but_not_scaled_unless_asked(captions, tmp_path):
    plain, scaled = tmp_path / "plain.parquet", tmp_path / "scaled.parquet"
    assert quiet("toy-pair", captions, plain, "--tower", "text") == 0
    assert quiet("toy-pair", captions, scaled, "--tower", "text", "--normalise") == 0
    lengths = np.linalg.norm(vectors(plain), axis=1, keepdims=True)
    assert np.abs(lengths - 1).max() > 0.01
    assert np.allclose(vectors(plain) / lengths, vectors(scaled), atol=1e-6)


def test_the_file_says_which_side_it_is_of(captions, tmp_path):
    summary = embed("toy-pair", captions, tmp_path / "o.parquet", device="cpu", tower="text", max_length=4)
    about = json.loads(parquet.read_schema(tmp_path / "o.parquet").metadata[b"zoo"])
    assert about["model"] == summary["model"] == "toys/toy-pair"
    assert about["vector"] == "text tower, projected"
    assert about["preprocessing"]["kind"] == "text"


def test_the_first_side_is_taken_and_said(pictures, tmp_path, capsys):
    assert quiet("toy-pair", pictures / "val", tmp_path / "o.parquet") == 0
    assert "model: the image tower of toys/toy-pair (--tower text for the other)" in capsys.readouterr().err
    assert vectors(tmp_path / "o.parquet").shape == (15, 16)


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        ("toy-image", ("--tower", "image"), "is no model of pairs"),
        ("toy-text", ("--tower", "text"), "is no model of pairs"),
        ("toy-pair", ("--tower", "audio"), "has no audio tower.\nIts towers: image and text."),
        ("toy-pair", ("--tower", "image", "--max-length", "8"), "takes no texts"),
    ],
)
def test_wrong_use(model, options, words, pictures, tmp_path, capsys):
    assert quiet(model, pictures / "val", tmp_path / "o.parquet", *options) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "o.parquet").exists()


def test_a_finetuned_tower_is_no_pair(pictures, tmp_path, capsys):
    tuned = tmp_path / "tuned"
    command = ["finetune", "toy-pair", "--data", str(pictures), "-o", str(tuned), "--device", "cpu"]
    assert run([*command, "--epochs", "1", "--strategy", "full", "--batch-size", "8"]) == 0
    assert quiet(tuned, pictures / "val", tmp_path / "o.parquet") == 0
    assert quiet(tuned, pictures / "val", tmp_path / "p.parquet", "--tower", "image") == 2
    checkpoint = tuned / "checkpoints" / "best"
    assert quiet(checkpoint, pictures / "val", tmp_path / "q.parquet") == 0
    assert np.abs(vectors(tmp_path / "o.parquet") - vectors(tmp_path / "q.parquet")).max() < 1e-6
    assert quiet(checkpoint, pictures / "val", tmp_path / "r.parquet", "--tower", "image") == 2
