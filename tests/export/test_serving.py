"""Predicting with an export: verified files, no torch, and inputs of all kinds."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from zoo.cli.main import main
from zoo.exporting import ExportResult
from zoo.kinds import Outcome, kind_of
from zoo.predicting import find_inputs, predict
from zoo.serve_model import OnnxModel
from zoo.targets import open_target
from zoo_registry.errors import DataError, UsageError, ZooError


def test_same_answers_as_the_run(exported: ExportResult, run: Path, photos: Path) -> None:
    by_onnx, by_torch = predict(exported.path, [photos / "val"]), predict(run, [photos / "val"])
    assert [row["input"] for row in by_onnx] == [row["input"] for row in by_torch]
    assert [row["label"] for row in by_onnx] == [row["label"] for row in by_torch]
    for one, other in zip(by_onnx, by_torch, strict=True):
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-4)
        assert sum(one["scores"].values()) == pytest.approx(1, abs=1e-5)
        assert one["score"] == max(one["scores"].values()) == one["scores"][one["label"]]


def test_no_torch_no_timm(exported: ExportResult, photos: Path) -> None:
    code = (
        "import sys, runpy; from zoo.cli.main import run\n"
        f"code = run(['predict', {str(exported.path)!r}, {str(photos / 'val')!r}, '--json'])\n"
        "bad = [m for m in ('torch', 'timm', 'torchvision', 'torchmetrics', 'datasets', 'onnx') if m in sys.modules]\n"
        "print(bad, file=sys.stderr); sys.exit(code or len(bad))"
    )
    environment = {**os.environ, "ZOO_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == 24


def test_paths_bytes_and_arrays(exported: ExportResult, photos: Path) -> None:
    path = next((photos / "val").rglob("*.png"))
    model = OnnxModel(exported.path)
    one, two, three = model.predict([path, path.read_bytes(), model.decode(str(path))])
    assert one == two == three
    assert model.predict([]) == []


def test_truncated_model(export_copy: Path) -> None:
    path = export_copy / "model.onnx"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ZooError, match=r"damaged or not the exported file: sha256 .*, expected") as caught:
        open_target(export_copy)
    assert caught.value.exit_code == 1
    assert "zoo export" in caught.value.remedy


def test_foreign_model_with_its_own_hash(export_copy: Path) -> None:
    import hashlib

    (export_copy / "model.onnx").write_bytes(b"not a protobuf at all")
    meta = json.loads((export_copy / "model.json").read_text())
    meta["sha256"]["model.onnx"] = hashlib.sha256(b"not a protobuf at all").hexdigest()
    (export_copy / "model.json").write_text(json.dumps(meta))
    with pytest.raises(ZooError, match="onnxruntime cannot load"):
        open_target(export_copy)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "not written by zoo export"),
        ('{"architectures": ["ViT"]}', "not written by zoo export"),
        (b"\xff\xfe\x00", "not valid JSON"),
    ],
)
def test_foreign_model_json(export_copy: Path, content: str | bytes, message: str) -> None:
    (export_copy / "model.json").write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UsageError, match=message):
        open_target(export_copy)


def test_hashes_may_not_point_outside(export_copy: Path) -> None:
    meta = json.loads((export_copy / "model.json").read_text())
    meta["sha256"]["../../etc/passwd"] = "0" * 64
    (export_copy / "model.json").write_text(json.dumps(meta))
    with pytest.raises(UsageError, match="outside its folder"):
        open_target(export_copy)


def test_newer_schema(export_copy: Path) -> None:
    meta = json.loads((export_copy / "model.json").read_text())
    (export_copy / "model.json").write_text(json.dumps({**meta, "schema_version": 99}))
    with pytest.raises(UsageError, match="newer"):
        open_target(export_copy)


def test_no_such_target(tmp_path: Path, exported: ExportResult) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        open_target(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="is a file"):
        open_target(exported.path / "model.onnx")
    with pytest.raises(UsageError, match="not a run"):
        open_target(tmp_path)


def test_inputs_in_natural_order(tmp_path: Path) -> None:
    for name in ("b/img10.png", "b/img2.PNG", "a/img1.jpg", "notes.txt", "b/.hidden.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [p.name for p in find_inputs([tmp_path])] == ["img1.jpg", "img2.PNG", "img10.png"]
    assert [p.name for p in find_inputs([str(tmp_path / "b" / "*.png")])] == [".hidden.png", "img10.png"][1:]
    assert [p.name for p in find_inputs([tmp_path / "notes.txt", tmp_path / "a"])] == ["notes.txt", "img1.jpg"]
    with pytest.raises(DataError, match="does not exist"):
        find_inputs([tmp_path / "gone.png"])
    (tmp_path / "c").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        find_inputs([tmp_path / "c"])


def damaged(photos: Path, tmp_path: Path, good: int, bad: int) -> Path:
    folder = tmp_path / "mixed"
    folder.mkdir()
    source = next((photos / "val").rglob("*.png")).read_bytes()
    for i in range(good):
        (folder / f"good{i}.png").write_bytes(source)
    for i in range(bad):
        (folder / f"bad{i}.png").write_bytes(source[: 100 if i % 2 else 0])
    return folder


def invoke(*arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout, stderr of the command line in this process."""
    result = CliRunner().invoke(main, [str(one) for one in arguments])
    code = getattr(result.exception, "exit_code", result.exit_code)
    return code, result.stdout, result.stderr + str(result.exception or "")


def test_a_few_bad_files_are_skipped(exported: ExportResult, photos: Path, tmp_path: Path) -> None:
    code, out, err = invoke("predict", exported.path, damaged(photos, tmp_path, 39, 2), "--format", "jsonl")
    assert code == 0
    assert len(out.splitlines()) == 39
    assert "skipped 2 of 41" in err
    assert "bad0.png" in err
    assert "bad1.png" in err


def test_many_bad_files_fail_but_lose_nothing(exported: ExportResult, photos: Path, tmp_path: Path) -> None:
    folder = damaged(photos, tmp_path, 5, 3)
    code, out, err = invoke("predict", exported.path, folder, "--format", "jsonl")
    assert code == 6
    assert len(out.splitlines()) == 5
    assert "3 of 8 inputs could not be read" in err
    assert invoke("predict", exported.path, folder, "--max-bad", "0.5")[0] == 0
    assert invoke("predict", exported.path, folder / "bad0.png")[0] == 6


def test_formats(exported: ExportResult, photos: Path) -> None:
    folder = photos / "val" / "cat"
    rows = json.loads(invoke("predict", exported.path, folder, "--json")[1])
    assert len(rows) == 8
    assert set(rows[0]) == {"input", "label", "score", "scores"}
    lines = [json.loads(line) for line in invoke("predict", exported.path, folder, "--format", "jsonl")[1].splitlines()]
    assert lines == rows
    table = list(csv.DictReader(io.StringIO(invoke("predict", exported.path, folder, "--format", "csv")[1])))
    assert [row["label"] for row in table] == [row["label"] for row in rows]
    assert [float(row["dog"]) for row in table] == pytest.approx([row["scores"]["dog"] for row in rows])
    best = json.loads(invoke("predict", exported.path, folder, "--json", "--top", "2")[1])
    assert [next(iter(row["scores"])) for row in best] == [row["label"] for row in rows]
    assert all(len(row["scores"]) == 2 for row in best)
    wide = list(
        csv.DictReader(io.StringIO(invoke("predict", exported.path, folder, "--format", "csv", "--top", "2")[1]))
    )
    assert [row["label_1"] for row in wide] == [row["label"] for row in rows]
    text = invoke("predict", exported.path, folder)[1]
    assert text.splitlines()[0].split() == ["input", "label", "score"]
    assert len(text.splitlines()) == 9
    assert len(invoke("predict", exported.path, folder, "--top", "3")[1].splitlines()) == 25


def test_output_file_is_never_overwritten_unasked(exported: ExportResult, photos: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    arguments = ("predict", exported.path, photos / "val", "--format", "csv", "-o", target)
    code, out, _ = invoke(*arguments)
    assert (code, out) == (0, "")
    before = target.read_bytes()
    code, _, err = invoke(*arguments)
    assert code == 2
    assert "exists" in err
    target.write_text("mine")
    assert invoke(*arguments, "--force")[0] == 0
    assert target.read_bytes() == before


def test_multi_label_and_regression_rows() -> None:
    scores = np.array([[0.7, 0.2, 0.5], [0.1, 0.2, 0.3]])
    one, other = kind_of("multi-label").predictions(Outcome(scores), ("a", "b", "c"))
    assert one["label"] == ["a", "c"]
    assert one["score"] == pytest.approx(0.7)
    assert other["label"] == []
    rows = kind_of("regression").predictions(Outcome(np.float32([3.5])), ())
    assert rows == [{"label": None, "score": 3.5, "scores": {}}]


def test_export_verb(run: Path, tmp_path: Path) -> None:
    code, out, _ = invoke("export", run, "-o", tmp_path / "made", "--json")
    assert code == 0
    printed = json.loads(out)
    assert printed["schema_version"] == 1
    assert printed["parity"]["agreement"] == 1.0
    code, out, err = invoke("export", run, "-o", tmp_path / "made")
    assert code == 2
    assert "not empty" in err
