"""Exports end to end: parity on raw files, refusals, and folders that stay as they were."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from zoo.exporting import ExportResult, bundle, export
from zoo.exporting.parity import compare, latencies, pick
from zoo.images import load_image, load_raw
from zoo.kinds import Outcome, kind_of
from zoo.serve_model import OnnxModel
from zoo.targets import Answers
from zoo.trained import load_trained
from zoo_registry.errors import UsageError, ZooError


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_plain_export_repeats_torch(exported: ExportResult, run: Path, photos: Path) -> None:
    assert exported.parity.agreement == 1.0
    assert exported.parity.max_logit_difference < 1e-3
    assert exported.parity.samples == 24
    assert exported.parity.score_torch == exported.parity.score_onnx > 0.6
    assert leftovers(exported.path) == ["MODEL_CARD.md", "model.json", "model.onnx"]
    assert leftovers(exported.path.parent) == ["plain"]

    files = sorted((photos / "val").rglob("*.png"))[:7]
    trained = load_trained(run)
    batch = torch.stack([torch.from_numpy(load_image(f, trained.meta["preprocessing"])) for f in files])
    with torch.inference_mode():
        expected = trained.task.export_module()(batch).numpy()
    session = onnxruntime.InferenceSession(str(exported.path / "model.onnx"))
    logits, scores = session.run(["logits", "scores"], {"image": batch.numpy()})
    np.testing.assert_allclose(logits, expected, atol=1e-3)
    np.testing.assert_allclose(scores, torch.from_numpy(expected).softmax(1).numpy(), atol=1e-4)


def test_batch_is_dynamic(exported: ExportResult) -> None:
    session = onnxruntime.InferenceSession(str(exported.path / "model.onnx"))
    for size in (1, 3, 8):
        assert session.run(["logits"], {"image": np.zeros((size, 3, 64, 64), np.float32)})[0].shape == (size, 3)


def test_meta_and_card(exported: ExportResult) -> None:
    meta = json.loads((exported.path / "model.json").read_text())
    assert meta == exported.meta
    assert meta["labels"] == ["bird", "cat", "dog"]
    assert meta["task"] == "classification"
    assert meta["onnx_inputs"] == [{"name": "image", "type": "float32", "shape": ["batch", 3, 64, 64]}]
    assert [one["name"] for one in meta["onnx_outputs"]] == ["logits", "scores"]
    assert meta["latency"]["onnx_ms"] > 0
    assert meta["latency"]["torch_ms"] > 0
    assert meta["parity"]["agreement"] == 1.0
    assert {"model_id", "weights_id", "plugin", "data", "versions", "metrics"} <= set(meta)
    card = (exported.path / "MODEL_CARD.md").read_text()
    for text in (
        "`bird`, `cat`, `dog`",
        "vision/test_resnet",
        "zoo predict",
        "random weights",
        meta["sha256"]["model.onnx"],
    ):
        assert text in card


def test_no_paths_of_this_machine_in_the_graph(exported: ExportResult) -> None:
    assert str(Path(torch.__file__).parent.parent).encode() not in (exported.path / "model.onnx").read_bytes()


def test_graph_preprocessing(run: Path, photos: Path, tmp_path: Path) -> None:
    result = export(run, tmp_path / "graph", preprocess="graph")
    assert result.parity.agreement >= 0.99
    assert result.meta["onnx_inputs"] == [{"name": "pixels", "type": "uint8", "shape": ["batch", "height", "width", 3]}]
    assert result.meta["parity"]["pixels"]["max_levels"] < 6
    model = OnnxModel(result.path)
    files = sorted((photos / "val").rglob("*.png"))
    found = model.predict(files)
    session = onnxruntime.InferenceSession(str(result.path / "model.onnx"))
    for path, one in zip(files, found, strict=True):
        alone = session.run(["scores"], {"pixels": load_raw(path)[None]})[0][0]
        assert one["score"] == pytest.approx(float(alone.max()), abs=1e-5)


def test_fp16_keeps_float32_outside(run: Path, exported: ExportResult, tmp_path: Path) -> None:
    result = export(run, tmp_path / "half", precision="fp16", preprocess="graph")
    assert result.parity.agreement >= 0.99
    session = onnxruntime.InferenceSession(str(result.path / "model.onnx"))
    assert {one.type for one in session.get_outputs()} == {"tensor(float)"}
    assert "speedup_over_onnx_fp32" in result.meta["latency"]
    assert any(note.startswith("fp16 is") for note in result.meta["notes"])
    assert (result.path / "model.onnx").stat().st_size < 0.7 * (exported.path / "model.onnx").stat().st_size
    assert leftovers(result.path) == ["MODEL_CARD.md", "model.json", "model.onnx"]


def test_int8_is_calibrated_and_measured(run: Path, tmp_path: Path) -> None:
    result = export(run, tmp_path / "int8", precision="int8", min_agreement=0.5)
    graph = onnx.load(str(result.path / "model.onnx")).graph
    assert any(node.op_type == "QuantizeLinear" for node in graph.node)
    assert result.meta["calibration"] == {"samples": 48, "split": "train"}
    assert any(note.startswith("int8 is") for note in result.meta["notes"])
    assert 0 < result.parity.max_logit_difference < 20
    assert leftovers(tmp_path) == ["int8"]


def test_notes_say_when_fewer_bits_lose() -> None:
    parity = compare(
        Answers(list(np.eye(2)), Outcome(np.eye(2), truth=np.arange(2)), []),
        Answers(list(np.eye(2)), Outcome(np.eye(2)[::-1], truth=np.arange(2)), []),
        "classification",
        ("a", "b"),
    )
    latency = {
        "speedup_over_torch": 0.5,
        "speedup_over_onnx_fp32": 0.8,
        "onnx_ms": 2.0,
        "onnx_fp32_ms": 1.6,
        "torch_ms": 1.0,
    }
    notes = " ".join(bundle._notes(parity, {"latency": latency}, "int8"))
    assert "int8 is SLOWER than fp32" in notes
    assert "accuracy 1.0000 became 0.0000" in notes
    assert "Slower than torch" in notes


def test_a_vision_transformer_exports(make_run: Callable[..., Path], tmp_path: Path) -> None:
    assert export(make_run("test_vit"), tmp_path / "vit").parity.max_logit_difference < 1e-3


def test_failed_parity_leaves_nothing(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(source: Path, target: Path) -> None:
        model = onnx.load(str(source))
        for tensor in model.graph.initializer:
            values = onnx.numpy_helper.to_array(tensor)
            if values.ndim == 2:
                tensor.CopyFrom(onnx.numpy_helper.from_array(-values, tensor.name))
        onnx.save_model(model, str(target))

    monkeypatch.setattr(bundle, "to_fp16", broken)
    with pytest.raises(ZooError, match="differs from the trained model") as caught:
        export(run, tmp_path / "out", precision="fp16")
    assert caught.value.exit_code == 1
    assert leftovers(tmp_path) == []
    with pytest.raises(ZooError, match="more than 0"):
        export(run, tmp_path / "out", precision="fp16", min_agreement=0.0, tolerance=0.0)
    assert leftovers(tmp_path) == []
    assert export(run, tmp_path / "out", precision="fp16", min_agreement=0.0).parity.agreement < 0.9


def test_nan_never_passes(exported: ExportResult) -> None:
    worse = bundle.Parity(4, math.nan, 1.0, "accuracy", 1.0, 1.0)
    with pytest.raises(ZooError, match="differs"):
        bundle._accept(worse, {}, "host", "fp32", None, None)


def test_output_in_use(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    for force in (False, True):
        with pytest.raises(UsageError) as caught:
            export(run, folder, force=force)
        assert caught.value.exit_code == 2
    assert (folder / "thesis.txt").read_text() == "years of work"
    with pytest.raises(UsageError, match="is a file"):
        export(run, folder / "thesis.txt", force=True)
    assert leftovers(tmp_path) == ["mine"]


def test_force_replaces_an_export_only(run: Path, export_copy: Path) -> None:
    with pytest.raises(UsageError, match="not empty"):
        export(run, export_copy)
    (export_copy / "model.onnx").write_bytes(b"old")
    export(run, export_copy, force=True)
    OnnxModel(export_copy)
    assert leftovers(export_copy.parent) == ["copy"]
    (export_copy / "model.json").write_text(json.dumps({"architectures": ["Bert"]}))
    with pytest.raises(UsageError, match="not written by zoo"):
        export(run, export_copy, force=True)
    assert (export_copy / "model.onnx").is_file()


def test_empty_output_folder_is_fine(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    export(run, tmp_path / "empty")
    OnnxModel(tmp_path / "empty")


def test_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a run"):
        export(tmp_path, tmp_path / "out")
    with pytest.raises(UsageError):
        export(tmp_path / "nowhere", tmp_path / "out")


def test_unknown_choice(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        export(run, tmp_path / "out", precision="fp8")


def test_full_disk_leaves_nothing(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle, "seal", full)
    with pytest.raises(ZooError, match="cannot be written"):
        export(run, tmp_path / "out")
    assert leftovers(tmp_path) == []


def agreement(one: np.ndarray, other: np.ndarray, task: str) -> float:
    return kind_of(task).agreement(Outcome(one), Outcome(other))


def test_agreement_rules() -> None:
    one, other = np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([[0.8, 0.2], [0.6, 0.4]])
    assert agreement(one, other, "classification") == 0.5
    assert agreement(one, np.array([[0.8, 0.2], [0.2, 0.6]]), "multi-label") == 1.0
    assert agreement(one, np.array([[0.8, 0.7], [0.2, 0.6]]), "multi-label") == 0.5
    values = np.array([0.0, 10.0, 20.0, 30.0])
    assert agreement(values, values + np.array([0.0, 0.05, 0.0, 5.0]), "regression") == 0.75


def test_pick_is_even_and_repeatable() -> None:
    assert pick(5, 10).tolist() == [0, 1, 2, 3, 4]
    rows = pick(10_000, 100)
    assert rows.tolist() == sorted(set(rows.tolist())) == pick(10_000, 100).tolist()
    assert 4000 < rows.mean() < 6000


def test_latencies_are_medians_of_interleaved_calls() -> None:
    order: list[str] = []
    found = latencies({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, seconds=0.01, most=10)
    assert set(found) == {"a", "b"}
    assert order[2:18] == 2 * (["a"] * 4 + ["b"] * 4)


def test_odd_files_through_the_export(exported: ExportResult, tmp_path: Path) -> None:
    """Greyscale, palette, transparent and rotated files take the same way in torch and in the export."""
    model = OnnxModel(exported.path)
    pixels = np.random.default_rng(0).integers(0, 256, (50, 80, 4), dtype=np.uint8)
    for mode in ("L", "P", "RGBA", "CMYK"):
        path = tmp_path / f"{mode}.{'jpg' if mode == 'CMYK' else 'png'}"
        Image.fromarray(pixels[..., :3]).convert(mode).save(path)
        np.testing.assert_array_equal(model.decode(path), load_image(path, model.meta["preprocessing"]))
