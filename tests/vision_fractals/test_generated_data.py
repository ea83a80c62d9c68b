"""The data set ``fractals`` through the doors every data set goes through: names, caches, batches, whole runs."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import zoo
from zoo.cli.main import run
from zoo.data import decoding, folder_cache
from zoo.data.batches import Eval, Train, label_array
from zoo.data.dataset import DataSet
from zoo.data.generated import NUMBER, GeneratedStore
from zoo.data.sources import load_dataset
from zoo.data.store import MappedStore, build_store
from zoo.images import decode_image, open_image
from zoo.paths import cache_dir
from zoo.run import open_run
from zoo_registry.errors import UsageError
from zoo_registry.specs import InputSpec
from zoo_vision.pipeline import ImagePipeline

SPEC = InputSpec(modality="image", size=(3, 24, 24), mean=(0.5,) * 3, std=(0.5,) * 3, crop_pct=0.75)
NAME = "fractals:classes=4,images=10"


def dataset(name: str = NAME) -> DataSet:
    return load_dataset(name, registry=zoo.default_registry(), modality="image")


def test_a_name_with_settings_is_a_labelled_data_set() -> None:
    found = dataset()
    assert (found.name, found.task, found.path) == ("fractals", "classification", "")
    assert found.labels == ("system 0", "system 1", "system 2", "system 3")
    assert {split: len(table) for split, table in found.splits.items()} == {"train": 32, "val": 8}
    assert found.fingerprint == dataset("vision/fractals: images=10, classes=4").fingerprint
    assert found.fingerprint != dataset(f"{NAME},seed=1").fingerprint


def test_labels_are_read_in_number_order() -> None:
    found = dataset("fractals:classes=12,images=5")
    assert found.labels == tuple(f"system {number}" for number in range(12))


@pytest.mark.parametrize(
    ("data", "word"),
    [
        ("fractals:klasses=4", "klasses"),
        ("fractals:classes", "classes"),
        ("fractals:classes=many", "many"),
        ("fractals:classes=1", "classes"),
        ("fractals:images=0", "images"),
        ("fractals:seed=-1", "seed"),
        ("fractals:classes=2,images=1", "too few"),
        ("cats_dogs:classes=4", "classes"),
    ],
)
def test_bad_settings_are_refused(data: str, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "show", data]) == 2
    assert word in capsys.readouterr().err


def test_it_can_be_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "show", NAME, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["splits"]["train"]["samples"] == 32
    assert shown["splits"]["train"]["first"][0]["label"] == "system 0"


def test_a_folder_on_the_data_path_wins_over_a_bare_name(tmp_path, monkeypatch) -> None:
    for name in ("a", "b"):
        (tmp_path / "fractals" / name).mkdir(parents=True)
        for number in range(4):
            open_image(np.full((8, 8), number * 9, np.uint8)).save(tmp_path / "fractals" / name / f"{number}.png")
    monkeypatch.setenv("ZOO_DATA_PATH", str(tmp_path))
    assert dataset("fractals").labels == ("a", "b")
    assert len(dataset(NAME).labels) == 4


def test_the_cache_holds_what_each_item_decodes_to() -> None:
    pipeline, table = ImagePipeline(SPEC), dataset().splits["val"]
    store = build_store(table, pipeline)
    assert isinstance(store, MappedStore)
    assert store.array.shape == (8, 3, 32, 32)
    for row, item in enumerate(table.columns["input"]):
        assert np.array_equal(store.array[row], decode_image(item, SPEC))
    assert open_image(table.columns["input"][0]).size == (224, 224)


def test_made_anew_for_each_batch_is_the_same_as_cached() -> None:
    pipeline, found = ImagePipeline(SPEC), dataset()
    cached = build_store(found.splits["train"], pipeline)
    live = GeneratedStore(found.splits["train"].columns["input"], pipeline, cached.key)
    labels = label_array(found, "train", live.kept)
    ways = []
    for store in (cached, live):
        train = Train(store, labels, pipeline, batch_size=8, seed=1)
        batches = [train.transform(batch, epoch=0) for batch in train.stream(0, 3)]
        final = Eval(store, labels, pipeline, batch_size=8)
        ways.append(batches + [final.transform(batch) for batch in final.stream()])
    for one, other in zip(*ways, strict=True):
        assert set(one) == set(other)
        assert NUMBER not in one
        for name in one:
            assert torch.equal(one[name], other[name]), name
    assert np.array_equal(live.take(np.array([3, 1])), cached.take(np.array([3, 1])))


def test_above_the_limit_nothing_is_kept_and_nothing_is_decoded_ahead(monkeypatch) -> None:
    monkeypatch.setattr(decoding, "make_arrays", lambda *_: pytest.fail("decoded ahead"))
    said: list[str] = []
    store = build_store(dataset().splits["train"], ImagePipeline(SPEC), cache_limit=0, say=said.append)
    assert isinstance(store, GeneratedStore)
    assert len(store) == 32
    assert not store.bad
    assert "above the cache limit" in said[0]
    assert not (cache_dir() / "decoded").exists()


def test_an_interrupted_generator_leaves_nothing_and_can_be_repeated(monkeypatch) -> None:
    table, make = dataset().splits["train"], decoding.make_arrays
    calls = []

    def interrupted(items, shape):
        calls.append(len(items))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return make(items, shape)

    monkeypatch.setattr(decoding, "MADE_TOGETHER", 10)
    monkeypatch.setattr(decoding, "make_arrays", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_store(table, ImagePipeline(SPEC))
    assert list((cache_dir() / "decoded").iterdir()) == []
    store = build_store(table, ImagePipeline(SPEC))
    assert isinstance(store, MappedStore)
    assert calls == [10, 10, 10, 10, 10, 2]
    assert np.array_equal(store.array, make(table.columns["input"], (3, 32, 32)))


def test_a_full_disk_is_said_and_gone_without(monkeypatch) -> None:
    def full(path: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder_cache, "sync", full)
    said: list[str] = []
    store = build_store(dataset().splits["train"], ImagePipeline(SPEC), say=said.append)
    assert isinstance(store, GeneratedStore)
    assert any("is full" in line for line in said)


SHORT = {"size": 32, "device": "cpu", "epochs": 6, "batch_size": 16, "lr": 4e-3}


def test_a_run_without_data_learns_and_hands_over(tmp_path: Path) -> None:
    run_folder = zoo.pretrain(
        "test_resnet", "fractals:classes=4,images=40", output=tmp_path / "run", val_fraction=0.2, **SHORT
    ).run
    assert open_run(run_folder).config["objective"] == "supervised"
    lines = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
    figures = [line for line in lines if line["event"] == "evaluation"]
    assert figures[-1]["loss"] < 0.9 * np.log(4)
    assert max(figure["accuracy"] for figure in figures) >= 0.5  # of 32: chance is a quarter
    tuned = zoo.finetune(str(run_folder), NAME, output=tmp_path / "tuned", epochs=1, size=32, device="cpu")
    assert json.loads((tuned.run / "manifest.json").read_text())["weights"]["id"] == str(run_folder)


def test_a_run_is_the_same_with_its_images_made_anew(tmp_path: Path) -> None:
    settings = {**SHORT, "epochs": 1}
    cached, live = (
        zoo.pretrain("test_resnet", NAME, output=tmp_path / name, cache_limit=limit, **settings)
        for name, limit in (("cached", None), ("live", "0"))
    )
    assert cached.metrics == live.metrics


@pytest.mark.parametrize("option", ["label_smoothing=1", "label_smoothing=-0.1", "smoothing=0.1"])
def test_settings_out_of_range_are_refused(option: str, tmp_path: Path) -> None:
    command = ["pretrain", "test_resnet", "--data", NAME, "--size", "32", "-O", option, "-o", str(tmp_path / "run")]
    assert run(command) == 2


def test_pictures_without_classes_cannot_be_learnt_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(6):
        open_image(np.full((8, 8), number * 9, np.uint8)).save(tmp_path / f"{number}.png")
    command = ["pretrain", "test_resnet", "--objective", "supervised", "--data", str(tmp_path), "--size", "32"]
    assert run(command) == 6
    assert "class" in capsys.readouterr().err


def test_smoothing_is_in_the_training_loss_alone() -> None:
    from types import SimpleNamespace

    from zoo_vision.objectives.supervised import build_supervised

    backbone = torch.nn.Identity()
    backbone.dim = 3  # type: ignore[assignment]
    task = build_supervised(backbone, None, SimpleNamespace(options={"label_smoothing": 0.2}), classes=("a", "b"))  # type: ignore[arg-type]
    logits, batch = torch.tensor([[2.0, -1.0]]), {"label": torch.tensor([0])}
    log = logits.log_softmax(1)[0]
    task.train()
    assert task.head.loss(logits, batch)[0].item() == pytest.approx(-(0.9 * log[0] + 0.1 * log[1]).item())
    task.eval()
    assert task.head.loss(logits, batch)[0].item() == pytest.approx(-log[0].item())


def test_without_an_objective_other_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="objective"):
        zoo.pretrain("test_resnet", str(tmp_path))
