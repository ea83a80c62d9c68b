"""``zoo embed``: order, resuming, metadata and bad input, with tiny networks of random numbers."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
import torch
from finetuning import write_photos
from PIL import Image
from text_toys import WORDS, write_tokenizer

import zoo
from zoo.cli.main import run
from zoo.embedding.model import open_embedder
from zoo.embedding.parts import Parts
from zoo.embedding.run import embed
from zoo.tasks import SupervisedTask
from zoo.trained import build_head, input_dict, load_trained, pipeline_for, save_trained
from zoo.weights import load_backbone
from zoo_registry.errors import Interrupted, UsageError, ZooError
from zoo_registry.specs import InputSpec


def write_model(folder: Path, model: str, input: InputSpec | None, head: str, task: str, labels: tuple = ()) -> Path:
    """A model folder as a training leaves it."""
    registry = zoo.default_registry()
    torch.manual_seed(0)
    loaded = load_backbone(model, weights="none", registry=registry, input=input)
    network = SupervisedTask(loaded.backbone, build_head(head, loaded.backbone.dim, labels, registry))
    pipeline = pipeline_for(loaded.model_id, loaded.input, registry)
    meta = {"model_id": loaded.model_id, "head": head, "task": task, "labels": list(labels)}
    meta["input"] = {**input_dict(loaded.input), "assets": ""}
    folder.mkdir(parents=True)
    pipeline.save_assets(folder) if hasattr(pipeline, "save_assets") else None
    save_trained(folder, {"backbone": network.backbone.module, "head": network.head}, meta)
    return folder


@pytest.fixture(scope="module")
def text_input(tmp_path_factory: pytest.TempPathFactory) -> InputSpec:
    return InputSpec(modality="text", size=(16,), assets=str(write_tokenizer(tmp_path_factory.mktemp("assets"))))


@pytest.fixture(scope="module")
def text_model(tmp_path_factory: pytest.TempPathFactory, text_input: InputSpec) -> Path:
    """One with an embedding head."""
    return write_model(tmp_path_factory.mktemp("m") / "model", "bert_tiny", text_input, "embedding", "embedding")


@pytest.fixture(scope="module")
def image_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    size = dataclasses.replace(zoo.default_registry().model("test_resnet").spec.input, size=(3, 32, 32))
    folder = tmp_path_factory.mktemp("i") / "model"
    return write_model(folder, "test_resnet", size, "classification", "classification", ("a", "b"))


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    lines = [" ".join(random.choice(WORDS[:30], random.integers(1, 14))) for _ in range(25)]
    (tmp_path / "texts.txt").write_text("\n".join(lines) + "\n")
    return tmp_path / "texts.txt"


def read(path: Path) -> tuple[dict[str, list[Any]], np.ndarray]:
    table = parquet.read_table(path)
    columns = table.to_pydict()
    return columns, np.array(columns.pop("embedding"), np.float32)


def quiet(*arguments: object) -> int:
    return run(["embed", *map(str, arguments), "--device", "cpu"])


def test_texts_in_order_as_each_alone(text_model: Path, texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    assert quiet(text_model, "--data", texts, "-o", out, "--batch-size", 4, "--chunk", 10) == 0
    columns, vectors = read(out)
    lines = texts.read_text().splitlines()
    assert columns == {"row": list(range(25)), "input": lines}
    embedder = open_embedder(str(text_model), registry=zoo.default_registry(), device="cpu")
    alone = np.concatenate([embedder.run([embedder.pipeline.decode(line)]) for line in lines])
    assert np.abs(vectors - alone).max() < 1e-5
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert not (tmp_path / "out.parquet.parts").exists()


def test_metadata_says_what_made_the_vectors(text_model: Path, texts: Path, tmp_path: Path) -> None:
    summary = embed(text_model, texts, tmp_path / "o.parquet", device="cpu")
    about = json.loads(parquet.read_schema(tmp_path / "o.parquet").metadata[b"zoo"])
    assert about["model"] == summary["model"] == "text/bert_tiny"
    assert about["vector"] == "embedding head"
    assert about["sha256"] == json.loads((text_model / "model.json").read_text())["sha256"]["backbone.safetensors"]
    assert about["preprocessing"]["kind"] == "text"
    assert torch.__version__.startswith(about["versions"]["torch"])
    assert (summary["n"], summary["skipped"], summary["resumed"]) == (25, 0, 0)


@pytest.mark.parametrize("stop", ["error", "SIGINT"])
def test_a_stopped_command_goes_on_to_the_same_bytes(
    text_model: Path,
    texts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    stop: str,
) -> None:
    # A shell that starts the tests in the background has them ignore the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    arguments: dict[str, Any] = {"device": "cpu", "batch_size": 4, "chunk": 10}
    embed(text_model, texts, tmp_path / "whole.parquet", **arguments)
    write = Parts.write
    seen = []

    def once(self: Parts, number: int, *rest: Any) -> None:
        if number == 1 and not seen:
            seen.append(number)
            if stop == "SIGINT":
                os.kill(os.getpid(), signal.SIGINT)
            raise ZooError("The disk is full.")
        write(self, number, *rest)

    monkeypatch.setattr(Parts, "write", once)
    with pytest.raises(Interrupted if stop == "SIGINT" else ZooError):
        embed(text_model, texts, tmp_path / "out.parquet", **arguments)
    assert not (tmp_path / "out.parquet").exists()
    assert [path.name for path in (tmp_path / "out.parquet.parts").glob("*.parquet")] == ["part-000000.parquet"]
    assert embed(text_model, texts, tmp_path / "out.parquet", **arguments)["resumed"] == 10
    assert read(tmp_path / "out.parquet")[1].tobytes() == read(tmp_path / "whole.parquet")[1].tobytes()
    assert (tmp_path / "out.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_a_damaged_part_is_made_again(text_model: Path, texts: Path, tmp_path: Path) -> None:
    parts = _stopped(text_model, texts, tmp_path)
    (parts / "part-000000.parquet").write_bytes(b"PAR1")
    assert embed(text_model, texts, tmp_path / "o.parquet", device="cpu", chunk=10)["resumed"] == 0


def _stopped(model: Path, data: Path, folder: Path) -> Path:
    """The parts of a command that ended after the first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Parts, "merge", lambda *_: (_ for _ in ()).throw(ZooError("The disk is full.")))
        with pytest.raises(ZooError):
            embed(model, data, folder / "o.parquet", device="cpu", chunk=10)
    for late in sorted((folder / "o.parquet.parts").glob("part-*.parquet"))[1:]:
        late.unlink()
    return folder / "o.parquet.parts"


def test_parts_of_other_data_are_not_mixed_in(
    text_model: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _stopped(text_model, texts, tmp_path)
    texts.write_text(texts.read_text() + "the cat\n")
    again = (text_model, "--data", texts, "-o", tmp_path / "o.parquet", "--chunk", 10)
    assert quiet(*again) == 2
    assert "another data" in capsys.readouterr().err
    assert quiet(*again, "--force") == 0
    assert len(read(tmp_path / "o.parquet")[1]) == 26


def test_an_output_is_never_overwritten_unasked(text_model: Path, texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.parquet"
    out.write_bytes(b"precious")
    assert quiet(text_model, "--data", texts, "-o", out) == 2
    assert out.read_bytes() == b"precious"
    assert quiet(text_model, "--data", texts, "-o", out, "--force") == 0
    assert len(read(out)[1]) == 25


def test_photos_in_natural_order_with_labels_and_splits(image_model: Path, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", train=11, val=2)
    (photos / "train" / "bar" / "broken.png").write_bytes(b"no picture")
    out = tmp_path / "o.parquet"
    assert quiet(image_model, "--data", photos, "-o", out, "--batch-size", 4) == 0
    columns, vectors = read(out)
    names = [str(Path(name).relative_to(photos)) for name in columns["input"]]
    assert names[:12] == [f"train/bar/{i}.png" for i in range(11)] + ["train/dot/0.png"]
    assert columns["row"] == [*range(11), *range(12, 27)]  # the broken one has a row, and no vector
    assert columns["label"] == [Path(name).parts[1] for name in names]
    assert columns["split"] == [Path(name).parts[0] for name in names]
    assert vectors.shape == (26, load_trained(image_model).task.backbone.dim)
    embedder = open_embedder(str(image_model), registry=zoo.default_registry(), device="cpu")
    assert np.abs(vectors[3] - embedder.run([embedder.pipeline.decode(columns["input"][3])])[0]).max() < 1e-5
    assert embedder.head is None


def test_loose_photos_and_a_table_of_them(image_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "loose"
    (folder / "deep").mkdir(parents=True)
    for name in ("img10.png", "img2.png", "deep/a.png"):
        Image.new("RGB", (40, 36), (9, 90, 200)).save(folder / name)
    assert quiet(image_model, "--data", folder, "-o", tmp_path / "a.parquet") == 0
    columns, vectors = read(tmp_path / "a.parquet")
    assert [Path(name).name for name in columns["input"]] == ["a.png", "img2.png", "img10.png"]
    assert set(columns) == {"row", "input"}
    assert np.ptp(vectors, axis=0).max() < 1e-5
    (folder / "list.csv").write_text("file,stars\nimg2.png,3\nimg10.png,4\n")
    assert quiet(image_model, "--data", folder / "list.csv", "-o", tmp_path / "b.parquet", "--normalise") == 0
    columns, vectors = read(tmp_path / "b.parquet")
    assert [Path(name).name for name in columns["input"]] == ["img2.png", "img10.png"]
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_tables_of_texts(text_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    data.mkdir()
    rows = [{"text": f"the cat {i}", "note": "a dog far away", "label": i % 2} for i in range(30)]
    (data / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (data / "val.jsonl").write_text(json.dumps({"text": "", "note": "x", "label": 1}) + "\n" + json.dumps(rows[0]))
    assert quiet(text_model, "--data", data, "-o", tmp_path / "a.parquet", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["n"], summary["skipped"], summary["schema_version"]) == (31, 1, 1)
    columns, vectors = read(tmp_path / "a.parquet")
    assert columns["row"] == [*range(30), 31]
    assert columns["label"] == [*(i % 2 for i in range(30)), 0]
    assert columns["split"] == [*["train"] * 30, "val"]
    assert np.abs(vectors[0] - vectors[30]).max() < 1e-5
    named = ("--data", data / "train.jsonl", "-o", tmp_path / "b.parquet", "--input-column")
    assert quiet(text_model, *named, "note") == 0
    assert set(read(tmp_path / "b.parquet")[0]["input"]) == {"a dog far away"}
    assert quiet(text_model, *named, "nothing", "--force") == 6


def test_words_and_files_of_texts(text_model: Path, tmp_path: Path) -> None:
    (tmp_path / "train.conll").write_text("the\tO\ncat\tB-x\n\na\tO\ndog\tB-x\n")
    assert quiet(text_model, "--data", tmp_path / "train.conll", "-o", tmp_path / "a.parquet") == 0
    assert read(tmp_path / "a.parquet")[0]["input"] == ["the cat", "a dog"]
    for name, text in (("good/1.txt", "film good"), ("bad/1.txt", "film bad\nfar away")):
        (tmp_path / "reviews" / name).parent.mkdir(parents=True)
        (tmp_path / "reviews" / name).write_text(text)
    assert quiet(text_model, "--data", tmp_path / "reviews", "-o", tmp_path / "b.parquet") == 0
    columns, _ = read(tmp_path / "b.parquet")
    assert columns["label"] == ["bad", "good"]
    assert columns["input"] == [str(tmp_path / "reviews" / name) for name in ("bad/1.txt", "good/1.txt")]


def test_blank_lines_are_no_texts(text_model: Path, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("the cat\n\n \na dog\n")
    assert quiet(text_model, "--data", tmp_path / "t.txt", "-o", tmp_path / "a.parquet") == 0
    assert read(tmp_path / "a.parquet")[0] == {"row": [0, 3], "input": ["the cat", "a dog"]}


def test_too_many_unreadable_inputs(image_model: Path, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", train=3, val=1)
    (photos / "train" / "bar" / "broken.png").write_bytes(b"no picture")
    out = tmp_path / "o.parquet"
    assert quiet(image_model, "--data", photos, "-o", out) == 6
    assert not out.exists()
    assert quiet(image_model, "--data", photos, "-o", out, "--max-bad", "0.2") == 0
    assert len(read(out)[1]) == 8


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"model": "nothing_like_it"}, 3),
        ({"data": "missing.txt"}, 6),
        ({"data": "no_such_set"}, 3),
        ({"out": "o.csv"}, 2),
        ({"more": ("--max-length", 400)}, 2),
        ({"more": ("--chunk", 0)}, 2),
        ({"more": ("--precision", "fp16")}, 2),
    ],
)
def test_exit_codes(text_model: Path, texts: Path, tmp_path: Path, change: dict[str, Any], code: int) -> None:
    data, out = change.get("data", texts), tmp_path / change.get("out", "o.parquet")
    assert quiet(change.get("model", text_model), "--data", data, "-o", out, *change.get("more", ())) == code
    assert not out.exists()


def test_empty_data(text_model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n\n")
    assert quiet(text_model, "--data", tmp_path / "empty.txt", "-o", tmp_path / "o.parquet") == 6
    (tmp_path / "folder").mkdir()
    assert quiet(text_model, "--data", tmp_path / "folder", "-o", tmp_path / "o.parquet") == 6


def test_a_head_without_parameters_is_written_and_read(text_model: Path) -> None:
    trained = load_trained(text_model)
    assert trained.task.head.task == "embedding"
    assert not trained.task.head.state_dict()
    assert (text_model / "head.safetensors").stat().st_size > 0


def test_an_export_gives_no_vectors(tmp_path: Path) -> None:
    for name in ("model.onnx", "model.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(UsageError, match="export"):
        open_embedder(str(tmp_path), registry=zoo.default_registry())
