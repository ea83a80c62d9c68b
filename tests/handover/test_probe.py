"""``zoo evaluate --probe``: frozen features against slow references, honest choices, and what it refuses."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from finetuning import TINY, finetune, write_photos
from texting import write_reviews

import zoo
from zoo import probing
from zoo.cli.main import run
from zoo.data.dataset import Table
from zoo.data.splits import cut_validation
from zoo.neighbours import knn_scores

OF_MODEL = ["--weights", "none", "--size", "32"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos")


def slow_knn(train: Any, labels: Any, query: Any, classes: int, k: int, temperature: float) -> list[float]:
    """Votes of one query, in plain Python."""
    cosine = [
        sum(a * b for a, b in zip(row, query, strict=True)) / (math.hypot(*row) * math.hypot(*query)) for row in train
    ]
    nearest = sorted(range(len(train)), key=lambda i: -cosine[i])[:k]
    votes = [0.0] * classes
    for i in nearest:
        votes[labels[i]] += math.exp(cosine[i] / temperature)
    return [vote / sum(votes) for vote in votes]


@pytest.mark.parametrize("k", [1, 3, 50])
def test_neighbours_vote_as_the_slow_reference_says(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.neighbours.CHUNK", 4)
    draw = torch.Generator().manual_seed(3)
    train, queries = torch.randn(30, 5, generator=draw), torch.randn(11, 5, generator=draw)
    labels = torch.randint(3, (30,), generator=draw)
    scores = knn_scores(train, labels, queries, 3, k=k, temperature=0.3)
    expected = [slow_knn(train.tolist(), labels.tolist(), query, 3, k, 0.3) for query in queries.tolist()]
    torch.testing.assert_close(scores, torch.tensor(expected))


def test_the_temperature_of_the_literature_does_not_overflow() -> None:
    train = torch.nn.functional.one_hot(torch.arange(4)).float() * 1e3
    scores = knn_scores(train, torch.tensor([0, 0, 1, 1]), train, 2)
    assert scores.isfinite().all()
    assert scores.argmax(1).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("probe", ["knn", "linear"])
def test_a_model_by_name(photos: Path, probe: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", "test_resnet", "--probe", probe, *OF_MODEL, "--data", str(photos)]
    assert run([*command, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["task"], result["probe"], result["split"], result["n"]) == ("classification", probe, "val", 12)
    assert result["metrics"]["accuracy"] > 0.9  # stripes one way or the other are told apart by random filters
    low, high = result["intervals"]["accuracy"]
    assert low < result["metrics"]["accuracy"] <= high
    assert run(command) == 0
    shown = capsys.readouterr()
    assert f"{probe}: " in shown.out
    assert "features: train from the cache" in shown.err  # the second time


def test_the_measured_split_chooses_nothing(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, Any]] = []
    fit = probing.fit_heads

    def watched(head: Any, stage: Any, features: Any, labels: Any, *rest: Any, **more: Any) -> Any:
        given.append({split: np.array(values) for split, values in features.items()})
        return fit(head, stage, features, labels, *rest, **more)

    monkeypatch.setattr(probing, "fit_heads", watched)
    result = zoo.probe("test_resnet", photos, "linear", weights="none", size=32)
    choose, final = given
    assert (len(choose["train"]), len(choose["val"]), len(final["train"])) == (20, 4, 24)
    train = {row.tobytes() for row in final["train"]}
    assert {row.tobytes() for part in choose.values() for row in part} == train
    assert "chose nothing" in result["notes"][0]
    assert result["weights"] == "none"


def test_windows_of_a_recording_stay_on_one_side() -> None:
    """Ten recordings of two classes, in windows: 1, 2, 3, 1, 2, 3, ..."""
    counts = [1 + i % 3 for i in range(10)]
    owner = np.repeat(np.arange(10), counts)
    labels = np.repeat(np.arange(10) % 2, counts)
    store = SimpleNamespace(kept=np.arange(len(owner)))
    data: Any = SimpleNamespace(
        stores={"train": store}, tables={"train": Table({"owner": owner.tolist()})}, labels={"train": labels}
    )
    fitted, held = probing._cut(data, seed=5)
    assert set(owner[fitted]) & set(owner[held]) == set()
    assert sorted([*fitted, *held]) == list(range(len(owner)))
    assert set(owner[held]) == set(cut_validation([i % 2 for i in range(10)], "classification", 5, 0.2)[1])


def test_runs_of_either_verb_and_their_model_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reviews = write_reviews(tmp_path / "reviews")
    base = tmp_path / "base"
    command = ["pretrain", "bert_tiny", "--objective", "mlm", "--data", str(reviews), "--device", "cpu"]
    assert run([*command, "--max-length", "16", "--epochs", "1", "--output", str(base)]) == 0
    capsys.readouterr()
    assert run(["evaluate", str(base), "--probe", "knn", "--data", str(reviews), "--json"]) == 0
    by_run = json.loads(capsys.readouterr().out)
    assert by_run["n"] == 24
    assert run(["evaluate", str(base / "model"), "--probe", "knn", "--data", str(reviews), "--json"]) == 0
    by_folder = json.loads(capsys.readouterr().out)
    assert by_folder["metrics"] == by_run["metrics"]
    assert run(["evaluate", str(base), "--probe", "knn"]) == 2  # its own data has no labels
    assert "Add --data" in capsys.readouterr().err
    assert run(["evaluate", str(base)]) == 2
    assert "--probe knn" in capsys.readouterr().err


def test_a_finetuning_run_has_data_of_its_own(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tuned = tmp_path / "tuned"
    assert finetune(photos, tuned, "--strategy", "head", "--head-epochs", "1") == 0
    capsys.readouterr()
    assert run(["evaluate", str(tuned), "--probe", "linear", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["n"], result["model"]) == (12, "vision/test_resnet")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["PHOTOS", "--probe", "knn", "--data", "PHOTOS"], 2, "is no run"),
        (["test_resnet", "--probe", "knn"], 2, "Add --data"),
        (["test_resnet", "--probe", "knn", *OF_MODEL, "--data", "PHOTOS", "--split", "train"], 2, "--split val"),
        (["test_resnet", "--probe", "knn", *OF_MODEL, "--data", "PHOTOS", "--split", "test"], 6, "It has: val"),
        (["test_resnet", "--probe", "knn", *OF_MODEL, "--data", "no_such_data"], 3, "no_such_data"),
        (["test_resnet", "--probe", "linear", *OF_MODEL, "--data", "VALUES"], 2, "regression"),
        (["test_resnet", "--probe", "knn", "--data", "PHOTOS", "--labels", "a,b"], 2, "--labels"),
        (["no_such_net", "--probe", "knn", "--data", "PHOTOS"], 3, "no_such_net"),
        (["test_resnet", "--weights", "none", "--data", "PHOTOS"], 2, "--probe"),
        (["test_resnet", "--probe", "knn", *OF_MODEL, "--data", "FLAT"], 6, ""),
    ],
)
def test_what_it_refuses(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    (flat / "one.png").write_bytes((photos / "val" / "bar" / "0.png").read_bytes())
    rows = [f"{path},{i / 7}" for i, path in enumerate(sorted(photos.rglob("*.png")))]
    (tmp_path / "values.csv").write_text("\n".join(["image,label", *rows]))
    paths = {"PHOTOS": str(photos), "FLAT": str(flat), "VALUES": str(tmp_path / "values.csv")}
    assert run(["evaluate", *(paths.get(one, one) for one in arguments)]) == code
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_weights_are_not_for_a_run(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert finetune(photos, tmp_path / "tuned", "--strategy", "head", "--head-epochs", "1") == 0
    assert run(["evaluate", str(tmp_path / "tuned"), "--probe", "knn", *TINY[:2]]) == 2
    assert "weights of its own" in capsys.readouterr().err


def test_an_export_is_refused(tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export = tmp_path / "export"
    export.mkdir()
    (export / "model.onnx").touch()
    (export / "model.json").write_text('{"model_id": "vision/test_resnet"}')
    assert run(["evaluate", str(export), "--probe", "knn", "--data", str(photos)]) == 2
    assert "measured without --probe" in capsys.readouterr().err
