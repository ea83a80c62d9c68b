"""Data without labels: what is found where, and how it is split."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pretraining_toys import INPUT, RATE, melody, toy_registry

from zoo.data.unlabelled import load_unlabelled
from zoo_audio.pipeline import audio_pipeline
from zoo_registry.errors import DataError, UnknownName, UsageError
from zoo_registry.registry import Registry


@pytest.fixture(scope="module")
def registry() -> Registry:
    return toy_registry()


def write(path: Path, number: int = 0, seconds: float = 0.1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, melody(number, seconds), RATE)
    return path


def load(data: Path | str, registry: Registry, **options):
    return load_unlabelled(str(data), registry=registry, modality="audio", **options)


def names(dataset, split: str) -> list[str]:
    return [Path(item).stem for item in dataset.splits[split].columns["input"]]


def test_files_at_any_depth(registry, tmp_path, capsys):
    for i in range(20):
        write(tmp_path / "speech" / f"speaker{i % 3}" / ("deep/down" if i % 2 else "") / f"clip{i}.wav", i)
    (tmp_path / "speech" / "notes.txt").write_text("recorded in May")
    found = load(tmp_path / "speech", registry, seed=3, val_fraction=0.25)
    train, val = set(names(found, "train")), set(names(found, "val"))
    assert (len(train), len(val)) == (15, 5)
    assert train | val == {f"clip{i}" for i in range(20)}
    assert set(found.splits) == {"train", "val"}
    assert (found.task, found.labels) == ("pretraining", ())
    assert set(found.splits["train"].columns["label"]) == {0}
    assert found.path == str(tmp_path / "speech")
    told = capsys.readouterr().err
    assert "no validation split: cut 5 of 20 samples" in told
    assert "1 files in" in told
    again = load(tmp_path / "speech", registry, seed=3, val_fraction=0.25)
    assert again.fingerprint == found.fingerprint
    assert names(again, "val") == names(found, "val")
    assert names(load(tmp_path / "speech", registry, seed=4, val_fraction=0.25), "val") != names(found, "val")


def test_split_folders_and_classes_that_mean_nothing(registry, tmp_path):
    for split, count in (("train", 6), ("valid", 2), ("test", 3)):
        for i in range(count):
            write(tmp_path / split / ("yes", "no")[i % 2] / f"{split}{i}.wav", i)
    found = load(tmp_path, registry)
    assert sorted(names(found, "train")) == [f"train{i}" for i in range(6)]
    assert sorted(names(found, "val")) == ["valid0", "valid1"]
    assert "test" not in found.splits


def test_loose_files_of_a_split(registry, tmp_path):
    for i in range(3):
        write(tmp_path / "train" / f"{i}.wav", i)
    write(tmp_path / "val" / "v.wav", 9)
    assert names(load(tmp_path, registry), "val") == ["v"]


def test_manifest_without_labels(registry, tmp_path):
    write(tmp_path / "long.wav", 1, 1.0)
    with (tmp_path / "parts.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "start", "end", "split"])
        writer.writerows([["long.wav", 0.1 * i, 0.1 * i + 0.1, "val" if i > 7 else "train"] for i in range(10)])
    found = load(tmp_path / "parts.csv", registry)
    assert (len(found.splits["train"]), len(found.splits["val"])) == (8, 2)
    item = found.splits["train"].columns["input"][3]
    decoded = audio_pipeline(INPUT).decode(item)
    whole = audio_pipeline(INPUT).decode(str(tmp_path / "long.wav"))
    assert np.array_equal(decoded, whole[2400:3200])


def test_labels_of_a_manifest_are_ignored_even_where_they_lack(registry, tmp_path):
    rows = []
    for i in range(10):
        write(tmp_path / f"{i}.wav", i)
        rows.append({"audio": f"{i}.wav", "label": "a" if i % 2 else None})
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = load(tmp_path / "data.jsonl", registry, val_fraction=0.2)
    assert (len(found.splits["train"]), len(found.splits["val"])) == (8, 2)
    assert set(found.splits["train"].columns["label"]) == {0}


def test_librispeech_tells_its_splits(registry, tmp_path):
    for split in ("train-clean-100", "dev-clean", "test-clean"):
        chapter = tmp_path / split / "19" / "198"
        for i in range(3):
            write(chapter / f"19-198-{split}{i}.flac", i)
        lines = [f"19-198-{split}{i} SOME WORDS" for i in range(3)]
        (chapter / "19-198.trans.txt").write_text("\n".join(lines))
    found = load(tmp_path, registry)
    assert len(found.splits["train"]) == 3
    assert all("dev-clean" in name for name in names(found, "val"))


def test_a_registered_name(registry, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ZOO_DATA_PATH", str(tmp_path))
    for i in range(4):
        write(tmp_path / "spoken_digits" / "train" / str(i % 2) / f"{i}.wav", i)
        write(tmp_path / "spoken_digits" / "val" / str(i % 2) / f"v{i}.wav", 100 + i)
    found = load("spoken_digits", registry)
    assert found.name == "spoken_digits"
    assert len(found.splits["val"]) == 4


def test_copies_in_both_splits_are_told(registry, tmp_path, capsys):
    write(tmp_path / "train" / "a.wav", 1)
    write(tmp_path / "train" / "b.wav", 2)
    write(tmp_path / "val" / "c.wav", 1)
    load(tmp_path, registry)
    assert "1 item is in both train and val" in capsys.readouterr().err


def test_other_modalities(registry, tmp_path):
    for i in range(5):
        (tmp_path / "more").mkdir(exist_ok=True)
        (tmp_path / "more" / f"{i}.png").write_bytes(b"x" * i)
    found = load_unlabelled(str(tmp_path), registry=registry, modality="image", val_fraction=0.2)
    assert (len(found.splits["train"]), len(found.splits["val"])) == (4, 1)


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (["readme.md"], "holds no audio files"),
        (["val/a.wav"], "no train"),
        (["train/readme.md", "val/a.wav"], "holds no audio files"),
        (["a.wav"], "too few samples"),
    ],
)
def test_what_cannot_be_trained_on(registry, tmp_path, layout, message):
    for name in layout:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=message):
        load(tmp_path, registry)


def test_names_that_are_none(registry, tmp_path):
    with pytest.raises(UnknownName):
        load("nowhere_to_be_found", registry)
    with pytest.raises(UsageError):
        load("  ", registry)
    with pytest.raises(DataError):
        load(tmp_path / "gone.csv", registry)
