"""Retrieval both ways against the ranks written out, and zero-shot accuracy on labelled pictures."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tower_toys

import zoo
from zoo.cli.main import run
from zoo.exporting import ExportResult
from zoo.pair_targets import open_torch
from zoo_registry.errors import DataError, UsageError
from zoo_registry.registry import Registry


def ranks_by_hand(captions: Path, registry: Registry) -> tuple[list[int], list[int]]:
    """Ranks of the first right answer of each picture and of each caption, each counted once."""
    with captions.open() as file:
        rows = [(row["image"], row["caption"]) for row in csv.DictReader(file) if row["split"] == "val"]
    pair = open_torch("toy-pair", registry, "cpu")
    right = set(rows)
    sides = [list(dict.fromkeys(row[side] for row in rows)) for side in (0, 1)]
    vectors = [
        {one: pair.encode(modality, [pair.decode(modality, one)])[0] for one in items}
        for modality, items in zip(pair.modalities, sides, strict=True)
    ]
    cosine = {(a, b): float(vectors[0][a] @ vectors[1][b]) for a in sides[0] for b in sides[1]}

    def rank(mine: list[tuple[str, str]]) -> int:
        best = max(cosine[one] for one in mine if one in right)
        return 1 + sum(cosine[one] >= best for one in mine if one not in right)

    return (
        [rank([(a, b) for b in sides[1]]) for a in sides[0]],
        [rank([(a, b) for a in sides[0]]) for b in sides[1]],
    )


def test_retrieval_is_the_ranks_counted(captions: Path, registry: Registry) -> None:
    report = zoo.evaluate("toy-pair", captions, batch_size=4)
    assert (report["task"], report["n"], report["skipped"], report["split"]) == ("retrieval", 30, 0, "val")
    for way, ranks in zip(("image_to_text", "text_to_image"), ranks_by_hand(captions, registry), strict=True):
        for depth in (1, 5, 10):
            name = f"{way}_recall_at_{depth}"
            assert report["metrics"][name] == pytest.approx(np.mean(np.array(ranks) <= depth))
            low, high = report["intervals"][name]
            assert 0 <= low <= report["metrics"][name] <= high <= 1
        assert report["metrics"][f"{way}_median_rank"] == np.median(ranks)
    assert "30 pairs of 15 images and 6 texts" in report["notes"][0]
    assert 0 < report["metrics"]["mean_recall"] < 1


def test_an_export_and_a_run_measure_alike(
    captions: Path, exported: ExportResult, pairs_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = zoo.evaluate("toy-pair", captions), zoo.evaluate(exported.path, captions)
    assert (one["backend"], other["backend"]) == ("torch", "onnxruntime")
    assert one["metrics"] == other["metrics"]
    own = zoo.evaluate(pairs_run)  # on the data of the run
    assert own["n"] == 30
    assert "has changed since training" in capsys.readouterr().err


def test_the_verb_shows_pairs(captions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", "toy-pair", "--data", str(captions), "--split", "train"]) == 0
    out = capsys.readouterr().out
    assert "retrieval, 48 pairs of table" in out
    assert "image_to_text_recall_at_10" in out


def test_bad_pictures_are_counted(captions: Path, tmp_path: Path) -> None:
    text = captions.read_text().splitlines()
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    table = tmp_path / "captions.csv"
    table.write_text("\n".join([*text, f"{bad},a dot,val"]) + "\n")
    report = zoo.evaluate("toy-pair", table)
    assert (report["n"], report["skipped"]) == (30, 1)
    with pytest.raises(DataError, match="1 of 31 inputs could not be read"):
        zoo.evaluate("toy-pair", table, max_bad=0.01)


def test_zero_shot_accuracy(pictures: Path, exported: ExportResult, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", "toy-pair", "--data", str(pictures), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    rows = zoo.predict("toy-pair", [pictures / "val"], labels=sorted(tower_toys.CLASSES))
    right = np.mean([f"/{row['label']}/" in row["input"] for row in rows])
    assert (report["task"], report["n"]) == ("classification", 15)
    assert report["metrics"]["accuracy"] == pytest.approx(right)
    assert zoo.evaluate(exported.path, pictures)["metrics"]["accuracy"] == pytest.approx(right)


def test_labels_in_other_words(pictures: Path) -> None:
    report = zoo.evaluate(
        "toy-pair", pictures, labels=["Sea grass", "a dot", "a bar code"], templates=["a photo of {}"]
    )
    assert report["labels"] == ["Sea grass", "a dot", "a bar code"]
    assert [one["support"] for one in report["classes"]] == [5, 5, 5]
    with pytest.raises(DataError, match="the model does not know: 'sea-grass'"):
        zoo.evaluate("toy-pair", pictures, labels=["a lamp", "a dot", "a bar code"])


def test_a_labelled_table_is_no_pairs(pictures: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    rows = [f"{path},{path.parent.name}" for path in sorted((pictures / "val").rglob("*.png"))]
    table.write_text("\n".join(["path,label", *rows]) + "\n")
    assert zoo.evaluate("toy-pair", table, split="all")["task"] == "classification"


def test_errors(pictures: Path, exported: ExportResult, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no data of its own"):
        zoo.evaluate("toy-pair")
    with pytest.raises(UsageError, match="no data of its own"):
        zoo.evaluate(exported.path)
    with pytest.raises(UsageError, match="no data to choose labels for"):
        zoo.evaluate("toy-pair", labels=["a", "b"])
    with pytest.raises(UsageError, match="no beam search"):
        zoo.evaluate("toy-pair", pictures, beam=2)
    with pytest.raises(UsageError, match="'a' twice"):
        zoo.evaluate("toy-pair", pictures, labels=["a", "a"])
    numbers = tmp_path / "numbers.csv"
    numbers.write_text("path,label\n" + "".join(f"{p},{i}.5\n" for i, p in enumerate(pictures.rglob("*.png"))))
    with pytest.raises(DataError, match="zero-shot chooses one label"):
        zoo.evaluate("toy-pair", numbers)
