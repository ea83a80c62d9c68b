"""Two graphs in one bundle, and one graph with fixed labels: the same answers as torch, without torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import tower_toys

import zoo
from zoo.cli.main import run
from zoo.exporting import ExportResult, export, pairs
from zoo.pair_targets import open_torch
from zoo.serve_model import OnnxModel, is_export
from zoo.serve_pairs import OnnxPair
from zoo_registry.errors import PluginError, UsageError, ZooError
from zoo_registry.registry import Registry

LABELS = list(tower_toys.CLASSES)
TEXTS = ["a photo of a dot", "sea grass", "a bar code . - the close up of many words that are cut off at the end of it"]


def test_the_bundle(exported: ExportResult) -> None:
    names = {path.name for path in exported.path.iterdir()}
    assert names == {"image.onnx", "text.onnx", "model.json", "tokenizer.json", "MODEL_CARD.md"}
    meta = json.loads((exported.path / "model.json").read_text())
    assert set(meta["sha256"]) == {"image.onnx", "text.onnx", "tokenizer.json"}
    assert meta["graphs"]["image"]["inputs"][0]["shape"] == ["batch", 3, 24, 24]
    assert [one["shape"] for one in meta["graphs"]["text"]["inputs"]] == [["batch", "sequence"]] * 2
    assert (exported.parity.agreement, exported.parity.samples) == (1.0, 64)
    assert exported.parity.max_logit_difference < 1e-3
    assert exported.parity.scores is None  # nobody knows which drawn picture belongs to which drawn text
    assert str(Path.cwd()) not in json.dumps(meta)
    assert "toy_pair_files" not in json.dumps(meta)
    card = (exported.path / "MODEL_CARD.md").read_text()
    assert "Logits are 10." in card
    assert "100.00 %" in card


def test_tokens_and_pixels_are_the_pipelines(exported: ExportResult, pictures: Path, registry: Registry) -> None:
    ours, theirs = open_torch("toy-pair", registry, "cpu"), OnnxPair(exported.path)
    paths = [str(path) for path in sorted((pictures / "val").rglob("*.png"))]
    for modality, items in (("image", paths), ("text", TEXTS)):
        one, other = ([pair.decode(modality, item) for item in items] for pair in (ours, theirs))
        prepared = [ours.batch(modality, [array]) for array in one]
        for batch, array in zip(prepared, other, strict=True):
            if modality == "image":
                assert np.array_equal(batch["image"][0].numpy(), array)
            else:
                assert np.array_equal(batch["input_ids"][0].numpy(), array[:, 0])
        assert np.abs(ours.encode(modality, one) - theirs.encode(modality, other)).max() < 1e-5


def test_the_graphs_hold_normalisation_and_scale(exported: ExportResult, registry: Registry) -> None:
    pair: Any = open_torch("toy-pair", registry, "cpu").dual
    image, text = (onnxruntime.InferenceSession(exported.path / f"{side}.onnx") for side in ("image", "text"))
    draw = np.random.default_rng(0)
    pixels = draw.normal(size=(3, 3, 24, 24)).astype(np.float32)
    ids = draw.integers(1, 20, (5, 9))
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    (vectors,) = image.run(None, {"image": pixels})
    unit, scaled = text.run(["vectors", "scaled"], feed)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert np.allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
    with torch.no_grad():
        sides = [
            pair.encode("image", {"image": torch.from_numpy(pixels)}),
            pair.encode("text", {name: torch.from_numpy(array) for name, array in feed.items()}),
        ]
        logits = pair.logit_scale.exp() * sides[0] @ sides[1].T
    assert np.abs(vectors @ scaled.T - logits.numpy()).max() < 1e-4


def test_predictions_are_those_of_torch(exported: ExportResult, classifier: ExportResult, pictures: Path) -> None:
    ours = zoo.predict("toy-pair", [pictures / "val"], labels=LABELS)
    for rows in (
        zoo.predict(exported.path, [pictures / "val"], labels=LABELS),
        zoo.predict(classifier.path, [pictures / "val"]),
    ):
        assert [(row["input"], row["label"]) for row in rows] == [(row["input"], row["label"]) for row in ours]
        for one, other in zip(rows, ours, strict=True):
            assert one["scores"] == pytest.approx(other["scores"], abs=1e-5)


def test_a_classifier_is_an_ordinary_export(classifier: ExportResult, pictures: Path) -> None:
    assert {path.name for path in classifier.path.iterdir()} == {"model.onnx", "model.json", "MODEL_CARD.md"}
    assert classifier.parity.agreement == 1.0
    assert OnnxModel(classifier.path).predict([pictures / "val" / "dot" / "0.png"])[0]["label"] in LABELS
    assert zoo.evaluate(classifier.path, pictures)["n"] == 15
    card = (classifier.path / "MODEL_CARD.md").read_text()
    assert "sentences each: `a photo of a {}.`" in card
    assert "has seen no labelled example" in card


def test_a_classifier_takes_raw_pixels_and_half_precision(pictures: Path, tmp_path: Path) -> None:
    made = export("toy-pair", tmp_path / "out", labels=LABELS, preprocess="graph", precision="fp16")
    assert made.meta["onnx_inputs"][0]["type"] == "uint8"
    assert made.parity.agreement >= 0.99
    one, other = zoo.predict(made.path, [pictures / "val"]), zoo.predict("toy-pair", [pictures / "val"], labels=LABELS)
    assert [row["label"] for row in one] == [row["label"] for row in other]


def test_a_run_is_measured_on_its_own_pairs(
    pairs_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", str(pairs_run), "-o", str(tmp_path / "pair")]) == 0
    out, err = capsys.readouterr()
    assert "comparing with torch on 30 validation pairs" in err
    assert "same answer on 100.00% of 30 validation samples" in out
    assert "mean_recall" in out
    assert "text, batch 1" in out
    assert run(["export", str(pairs_run), "-o", str(tmp_path / "one"), "--labels", "a dot,a bar code"]) == 0
    assert "same answer on 100.00% of 30 validation samples" in capsys.readouterr().out
    meta = json.loads((tmp_path / "one" / "model.json").read_text())
    assert meta["labels"] == ["a dot", "a bar code"]


def test_another_network_is_noticed(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = pairs.trace_side

    def moved(dual: Any, modality: str, path: Path, name: str) -> None:
        real(dual, modality, path, name)
        with torch.no_grad():
            dual.towers[modality].module[-1].weight.add_(torch.randn_like(dual.towers[modality].module[-1].weight))

    monkeypatch.setattr(pairs, "trace_side", moved)
    with pytest.raises(ZooError, match="differs from the trained model"):
        export("toy-pair", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_serving_imports_no_torch(exported: ExportResult, classifier: ExportResult, pictures: Path) -> None:
    code = (
        "import sys, zoo\n"
        "from zoo.cli.main import run\n"
        f"assert run(['predict', {str(exported.path)!r}, {str(pictures)!r}, '--labels', 'a dot,sea grass']) == 0\n"
        f"assert run(['predict', {str(classifier.path)!r}, {str(pictures)!r}]) == 0\n"
        "bad = [m for m in ('torch', 'timm', 'open_clip', 'transformers', 'onnx', 'datasets') if m in sys.modules]\n"
        "bad += [m for m in sys.modules if m.startswith('zoo_multimodal')]\n"
        "assert not bad, bad\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("val/dot/0.png") == 2


def test_damage_is_noticed(exported: ExportResult, tmp_path: Path) -> None:
    for name in ("text.onnx", "tokenizer.json"):
        copy = tmp_path / name.replace(".", "-")
        shutil.copytree(exported.path, copy)
        (copy / name).unlink()
        assert is_export(copy)
        with pytest.raises(ZooError, match="is missing"):
            OnnxPair(copy)
        (copy / name).write_bytes(b"another")
        with pytest.raises(ZooError, match="damaged or not the exported file"):
            OnnxPair(copy)


def test_each_opens_its_own_kind(exported: ExportResult, classifier: ExportResult, pictures: Path) -> None:
    with pytest.raises(UsageError, match="export of two towers"):
        OnnxModel(exported.path)
    with pytest.raises(UsageError, match="not of two towers"):
        OnnxPair(classifier.path)
    with pytest.raises(UsageError, match="knows no labels of its own"):
        zoo.predict(exported.path, [pictures])
    with pytest.raises(UsageError, match="an export with labels of its own"):
        zoo.predict(classifier.path, [pictures], labels=LABELS)


def test_export_errors(exported: ExportResult, pairs_run: Path, tmp_path: Path, registry: Registry) -> None:
    out = tmp_path / "out"
    for options in ({"precision": "fp16"}, {"precision": "int8"}, {"preprocess": "graph"}):
        with pytest.raises(UsageError, match="fp32 with host preprocessing alone"):
            export("toy-pair", out, **options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="calibrated on labelled training samples"):
        export("toy-pair", out, labels=LABELS, precision="int8")
    with pytest.raises(UsageError, match="an export already"):
        export(exported.path, out)
    with pytest.raises(UsageError, match="there are no labels"):
        export("toy-pair", out, templates=["a {}"])
    with pytest.raises(UsageError, match="no text tower"):
        export("toy-image", out, labels=LABELS)
    with pytest.raises(UsageError, match="'dot' twice"):
        export("toy-pair", out, labels=["dot", "dot"])
    with pytest.raises(UsageError, match="exists and is not empty"):
        export("toy-pair", exported.path)
    assert not out.exists()


def test_a_text_tower_must_take_any_length(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(tower_toys.TextTower, "dynamic_axes")
    pair = open_torch("toy-pair", registry, "cpu")
    with pytest.raises(PluginError, match="texts of one length alone"):
        pairs.trace_side(pair.dual, "text", tmp_path / "text.onnx", "toy-pair")


def test_force_replaces_an_export(exported: ExportResult, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(exported.path, copy)
    made = export("toy-pair", copy, labels=LABELS, force=True)
    assert {path.name for path in made.path.iterdir()} == {"model.onnx", "model.json", "MODEL_CARD.md"}
