from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zoo.data import sources
from zoo.data.batches import label_array
from zoo.data.dataset import DataSet
from zoo.data.sources import load_dataset
from zoo.data.store import build_store
from zoo.paths import cache_dir
from zoo_registry.errors import DataError, MissingDependency, UnknownName, UsageError
from zoo_registry.specs import DatasetSpec


class FakeRegistry:
    def __init__(self, *specs: DatasetSpec) -> None:
        self.specs = {spec.name: spec for spec in specs}

    def dataset(self, name: str) -> Any:
        if name not in self.specs:
            raise UnknownName(f"No data set {name}.", "Did you mean pets?")
        return types.SimpleNamespace(spec=self.specs[name])


def load(data: Path | str, modality: str = "image", registry: FakeRegistry | None = None, **options: Any) -> DataSet:
    return load_dataset(str(data), registry=registry or FakeRegistry(), modality=modality, **options)  # type: ignore[arg-type]


def touch(path: Path, text: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(path) if text is None else text)
    return path


def class_folders(folder: Path, counts: dict[str, int], suffix: str = ".jpg") -> Path:
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            touch(folder / name / f"{number}{suffix}")
    return folder


def names(dataset: DataSet, split: str) -> list[tuple[str, Any]]:
    columns = dataset.splits[split].columns
    return [(Path(item).name, label) for item, label in zip(columns["input"], columns["label"], strict=True)]


def problem(caught: pytest.ExceptionInfo[Any]) -> str:
    assert caught.value.exit_code == 6
    assert caught.value.remedy
    return str(caught.value)


# Class folders


def test_class_folders_with_splits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class_folders(tmp_path / "pets" / "train", {"Dog": 3, "cat": 2})
    class_folders(tmp_path / "pets" / "valid", {"cat": 1, "Dog": 1})
    class_folders(tmp_path / "pets" / "test", {"cat": 1})
    dataset = load(tmp_path / "pets")
    assert (dataset.name, dataset.task, dataset.labels) == ("pets", "classification", ("cat", "Dog"))
    assert dataset.origin == f"folder {tmp_path / 'pets'}"
    assert list(dataset.splits) == ["train", "val", "test"]
    assert names(dataset, "train") == [("0.jpg", 0), ("1.jpg", 0), ("0.jpg", 1), ("1.jpg", 1), ("2.jpg", 1)]
    assert not dataset.sample
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"folder {tmp_path / 'pets'}" in captured.err
    assert "train: 5 (cat 2, Dog 3)" in captured.err


def test_labels_and_files_are_sorted_as_people_do(tmp_path: Path) -> None:
    dataset = load(class_folders(tmp_path, {"class10": 12, "Class2": 12, "apple": 12}))
    assert dataset.labels == ("apple", "Class2", "class10")
    train = [name for name, label in names(dataset, "train") if label == 0]
    assert train == sorted(train, key=lambda name: int(name.split(".")[0]))


def test_without_a_validation_split_one_is_cut_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = class_folders(tmp_path, {"a": 20, "b": 10, "c": 1})
    first, again, other = load(folder, seed=1), load(folder, seed=1), load(folder, seed=2)
    assert [label for _, label in names(first, "val")] == [0] * 4 + [1] * 2
    assert {label for _, label in names(first, "train")} == {0, 1, 2}
    assert first == again
    assert names(first, "val") != names(other, "val")
    assert first.fingerprint != other.fingerprint
    assert "cut 6 of 31 samples" in capsys.readouterr().err


def test_a_test_folder_is_never_used_for_validation(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", {"a": 5, "b": 5})
    class_folders(tmp_path / "test", {"a": 5, "b": 5})
    dataset = load(tmp_path)
    assert len(dataset.splits["test"]) == 10
    assert all("/train/" in path for path in dataset.splits["val"].columns["input"])


def test_numeric_class_folders_stay_classes(tmp_path: Path) -> None:
    dataset = load(class_folders(tmp_path, {"0.5": 3, "1.5": 3}))
    assert (dataset.task, dataset.labels) == ("classification", ("0.5", "1.5"))


def test_empty_class_folders_and_foreign_files_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class_folders(tmp_path, {"a": 3, "b": 3, "empty": 0})
    touch(tmp_path / "a" / "notes.txt")
    touch(tmp_path / "a" / ".DS_Store")
    touch(tmp_path / "a" / "deeper" / "9.PNG")
    dataset = load(tmp_path)
    assert dataset.labels == ("a", "b")
    assert len(dataset.splits["train"]) + len(dataset.splits["val"]) == 7
    said = capsys.readouterr().err
    assert f"empty class folders, left out: {tmp_path / 'empty'}" in said
    assert "1 files" in said


def test_an_unknown_label_in_validation_names_label_and_path(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", {"a": 2, "b": 2})
    class_folders(tmp_path / "val", {"a": 2, "c": 2})
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    assert "'c'" in problem(caught)
    assert str(tmp_path / "val" / "c" / "0.jpg") in problem(caught)


def test_one_class_only_is_an_error_that_looks_one_folder_deeper(tmp_path: Path) -> None:
    class_folders(tmp_path / "flat", {"only": 3})
    with pytest.raises(DataError, match="only one class, 'only'") as caught:
        load(tmp_path / "flat")
    assert "at least two" in problem(caught)
    class_folders(tmp_path / "unpacked" / "pets" / "train", {"a": 3, "b": 3})
    with pytest.raises(DataError) as caught:
        load(tmp_path / "unpacked")
    assert f"Did you mean {tmp_path / 'unpacked' / 'pets'}?" in problem(caught)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([], "nothing that can be read as data"),
        (["1.jpg", "2.jpg"], "2 image files but no folder per class"),
        (["a/1.txt", "b/1.txt"], "No image files"),
        (["val/a/1.jpg", "test/a/1.jpg"], "but no train"),
        (["cat/1.jpg", "dog/1.jpg", "test/1.jpg"], "has test but no train"),
        (["train/a/1.jpg", "val/a/1.jpg", "dev/a/1.jpg"], "two val splits"),
        (["a.csv", "b.csv"], "nothing that can be read as data"),
    ],
)
def test_folders_that_hold_no_labelled_data(tmp_path: Path, files: list[str], expected: str) -> None:
    for file in files:
        touch(tmp_path / file)
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    assert expected in problem(caught)
    assert str(tmp_path) in problem(caught)


def test_text_class_folders_hold_texts(tmp_path: Path) -> None:
    class_folders(tmp_path, {"neg": 3, "pos": 3}, ".txt")
    dataset = load(tmp_path, "text")
    assert dataset.splits["train"].columns["input"][0] == str(tmp_path / "neg" / "0.txt")
    (tmp_path / "neg" / "0.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="UTF-8"):
        load(tmp_path, "text")


# Tables


def write_table(folder: Path, header: str, rows: list[str], name: str = "pets.csv") -> Path:
    for number in range(len(rows)):
        touch(folder / "img" / f"{number}.jpg")
    return touch(folder / name, "\n".join([header, *rows]) + "\n")


def test_a_csv_of_paths_and_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write_table(
        tmp_path, "id,filename,species", [f"{i},img/{i}.jpg,{'cat' if i % 2 else 'dog'}" for i in range(10)]
    )
    dataset = load(table)
    assert (dataset.name, dataset.labels, dataset.task) == ("pets", ("cat", "dog"), "classification")
    assert all(Path(path).is_file() for path in dataset.splits["train"].columns["input"])
    assert len(dataset.splits["val"]) == 2
    assert "input = filename, label = species" in capsys.readouterr().err


def test_a_split_column_is_honoured_and_its_nonsense_refused(tmp_path: Path) -> None:
    rows = [f"img/{i}.jpg,{i % 2},{split}" for i, split in enumerate(["train"] * 4 + ["valid"] * 2 + ["test"] * 2)]
    dataset = load(write_table(tmp_path, "path,label,split", rows))
    assert [len(dataset.splits[split]) for split in ("train", "val", "test")] == [4, 2, 2]
    table = write_table(tmp_path, "path,label,when", [*rows, "img/8.jpg,1,later"])
    with pytest.raises(DataError) as caught:
        load(table, columns={"split": "when"})
    assert f"{table}:10" in problem(caught)
    assert "'later'" in problem(caught)


def test_a_folder_of_split_tables_with_images_beside(tmp_path: Path) -> None:
    for split, count in [("train", 4), ("dev", 2), ("test", 2)]:
        for number in range(count):
            touch(tmp_path / split / f"{number}.jpg")
        header = "image" if split == "test" else "image,label"
        rows = [f"{n}.jpg" if split == "test" else f"{n}.jpg,{n % 2}" for n in range(count)]
        touch(tmp_path / f"{split}.csv", "\n".join([header, *rows]))
    dataset = load(tmp_path)
    assert list(dataset.splits) == ["train", "val"]
    assert dataset.splits["val"].columns["input"] == [str(tmp_path / "dev" / f"{n}.jpg") for n in range(2)]
    assert any("test split has no labels" in note for note in dataset.notes)


def test_a_folder_with_images_and_one_table(tmp_path: Path) -> None:
    rows = [f"{i}.jpg,{'ab'[i % 2]}" for i in range(6)]
    for number in range(6):
        touch(tmp_path / "images" / f"{number}.jpg")
    touch(tmp_path / "labels.csv", "\n".join(["file,label", *rows]))
    assert load(tmp_path).labels == ("a", "b")


def test_split_folders_with_a_table_each(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for number in range(4):
            touch(tmp_path / split / f"{number}.jpg")
        lines = [json.dumps({"file_name": f"{n}.jpg", "label": "ab"[n % 2]}) for n in range(4)]
        touch(tmp_path / split / "metadata.jsonl", "\n".join(lines))
    dataset = load(tmp_path)
    assert [len(table) for table in dataset.splits.values()] == [4, 4]
    assert dataset.splits["val"].columns["input"][0] == str(tmp_path / "val" / "0.jpg")


def test_missing_columns_list_the_columns_there_are(tmp_path: Path) -> None:
    table = write_table(tmp_path, "path,a,b", [f"img/{i}.jpg,{i},{i * 7}" for i in range(6)])
    with pytest.raises(DataError) as caught:
        load(table)
    assert "'path', 'a', 'b'" in problem(caught)
    assert "--label-column" in problem(caught)
    with pytest.raises(DataError, match="no column 'kind'"):
        load(table, columns={"label": "kind"})
    with pytest.raises(DataError, match="looks like image inputs"):
        load(touch(tmp_path / "x.csv", "a,label\n1,2\n2,3\n"))
    with pytest.raises(UsageError, match="role"):
        load(table, columns={"picture": "path"})


def test_a_validation_table_without_the_label_column(tmp_path: Path) -> None:
    touch(tmp_path / "train.csv", "text,label\ngood film,1\nbad film,0\n")
    touch(tmp_path / "val.csv", "text,mark\ngood film,1\n")
    with pytest.raises(DataError) as caught:
        load(tmp_path, "text")
    assert "'label'" in problem(caught)
    assert "'text', 'mark'" in problem(caught)


def test_an_unknown_label_in_a_validation_table_names_its_line(tmp_path: Path) -> None:
    touch(tmp_path / "train.csv", "text,label\ngood film,1\nbad film,0\n")
    val = touch(tmp_path / "val.csv", "text,label\ngood films,1\nno film,2\n")
    with pytest.raises(DataError) as caught:
        load(tmp_path, "text")
    assert f"{val}:3" in problem(caught)


def test_paths_that_do_not_exist_say_where_they_were_looked_for(tmp_path: Path) -> None:
    table = touch(tmp_path / "t.csv", "image,label\nnone/1.jpg,a\nnone/2.jpg,b\n")
    with pytest.raises(DataError) as caught:
        load(table)
    assert "'none/1.jpg'" in problem(caught)
    assert str(tmp_path) in problem(caught)


def test_a_few_incomplete_rows_are_left_out_and_many_stop(tmp_path: Path) -> None:
    rows = [f"sentence number {i},{i % 2}" for i in range(40)]
    dataset = load(touch(tmp_path / "t.csv", "\n".join(["text,label", *rows, "no label here,"])), "text")
    assert any("1 of 41 rows" in note and "t.csv:42" in note for note in dataset.notes)
    with pytest.raises(DataError, match="4 of 44"):
        load(touch(tmp_path / "t.csv", "\n".join(["text,label", *rows, *["no label here,"] * 4])), "text")


# Tasks


def text_table(folder: Path, labels: list[Any]) -> Path:
    lines = [json.dumps({"text": f"sentence number {i}", "label": label}) for i, label in enumerate(labels)]
    return touch(folder / "t.jsonl", "\n".join(lines))


@pytest.mark.parametrize(
    ("labels", "task", "expected"),
    [
        (["a", "b"] * 5, "classification", ("a", "b")),
        ([1, 10, 2] * 4, "classification", ("1", "2", "10")),
        ([1.0, 0.0] * 5, "classification", ("0", "1")),
        ([True, False] * 5, "classification", ("False", "True")),
        ([0.5, 1.0, 2.25] * 4, "regression", ()),
        ([["x", "y"], ["y"], []] * 4, "multi-label", ("x", "y")),
        (["x|y", "y", "z"] * 4, "multi-label", ("x", "y", "z")),
    ],
)
def test_the_task_follows_from_labels(tmp_path: Path, labels: list[Any], task: str, expected: tuple[str, ...]) -> None:
    dataset = load(text_table(tmp_path, labels), "text")
    assert (dataset.task, dataset.labels) == (task, expected)
    array = label_array(dataset, "train", range(len(dataset.splits["train"])))
    assert array.shape == ((len(array), len(expected)) if task == "multi-label" else (len(array),))


def test_the_task_can_be_forced(tmp_path: Path) -> None:
    dataset = load(text_table(tmp_path, [1, 2, 3] * 4), "text", task="regression")
    assert set(dataset.splits["train"].columns["label"]) == {1.0, 2.0, 3.0}
    dataset = load(text_table(tmp_path, ["a|b", "c"] * 4), "text", task="classification")
    assert dataset.labels == ("a|b", "c")
    dataset = load(text_table(tmp_path, ["a", "c"] * 4), "text", task="multi-label")
    assert sorted(dataset.splits["train"].columns["label"])[0] == [0]
    with pytest.raises(DataError, match=r"'a'.*no number"):
        load(text_table(tmp_path, ["a", "c"] * 4), "text", task="regression")
    with pytest.raises(UsageError):
        load(text_table(tmp_path, ["a", "c"] * 4), "text", task="magic")


def test_columns_of_zeros_and_ones_are_multi_label(tmp_path: Path) -> None:
    rows = [f"img/{i}.jpg,{i % 2},{int(i > 4)},0" for i in range(10)]
    table = write_table(tmp_path, "image,red,round,wet", [*rows, "img/0.jpg,1,1,1"])
    dataset = load(table)
    assert (dataset.task, dataset.labels) == ("multi-label", ("red", "round", "wet"))
    both = load(table, columns={"label": "red,round"})
    assert both.labels == ("red", "round")
    with pytest.raises(DataError, match="more than zeros and ones"):
        load(write_table(tmp_path, "image,a,b", ["img/0.jpg,x,1", "img/1.jpg,y,0"]), columns={"label": "a,b"})


SHARES = {"a": 0.8, "b": 0.5, "c": 0.2, "d": 0.03}


@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_the_cut_keeps_every_class_and_its_share(tmp_path: Path, task: str) -> None:
    rng = np.random.default_rng(0)
    if task == "multi-label":
        labels: list[Any] = [[n for n, p in SHARES.items() if rng.random() < p] for _ in range(200)]
    else:
        labels = [float(value) for value in rng.normal(size=200)]
    dataset = load(text_table(tmp_path, labels), "text")
    train = label_array(dataset, "train", range(len(dataset.splits["train"])))
    val = label_array(dataset, "val", range(len(dataset.splits["val"])))
    assert 30 <= len(val) <= 45
    assert np.abs(train.mean(0) - val.mean(0)).max() < 0.12
    if task == "multi-label":
        assert train.sum(0).min() >= 1


# Checks


def test_copies_across_splits_are_reported_with_paths(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", {"a": 3, "b": 3})
    class_folders(tmp_path / "val", {"a": 2, "b": 2})
    copied = tmp_path / "val" / "b" / "copy.jpg"
    copied.write_bytes((tmp_path / "train" / "a" / "1.jpg").read_bytes())
    note = next(note for note in load(tmp_path).notes if "both train and val" in note)
    assert note == f"1 item is in both train and val: {tmp_path / 'train' / 'a' / '1.jpg'} = {copied}"


def test_equal_texts_across_splits_are_reported(tmp_path: Path) -> None:
    touch(tmp_path / "train.csv", "text,label\ngood film,1\nbad film,0\n")
    touch(tmp_path / "val.csv", "text,label\ngood film,1\nworse film,0\n")
    assert any("'good film'" in note for note in load(tmp_path, "text").notes)


def test_clean_balanced_data_has_no_notes(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", {"a": 3, "b": 3})
    class_folders(tmp_path / "val", {"a": 2, "b": 2})
    assert load(tmp_path).notes == ()


def test_imbalance_is_noted(tmp_path: Path) -> None:
    assert any("imbalanced: a has 32" in note for note in load(class_folders(tmp_path, {"a": 40, "b": 3})).notes)


def test_the_fingerprint_follows_content_labels_and_nothing_else(tmp_path: Path) -> None:
    class_folders(tmp_path / "one", {"a": 3, "b": 3})
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    first = load(tmp_path / "one").fingerprint
    assert load(tmp_path / "two").fingerprint == first
    (tmp_path / "two" / "a" / "0.jpg").write_text("something longer or shorter")
    assert load(tmp_path / "two").fingerprint != first
    (tmp_path / "one" / "b").rename(tmp_path / "one" / "c")
    assert load(tmp_path / "one").fingerprint != first


# Names


SPEC = DatasetSpec(name="pets", modality="image", task="classification", sample="pets_sample:write")


@pytest.fixture
def with_sample(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    written: list[Path] = []

    def write(folder: Path) -> None:
        written.append(folder)
        class_folders(folder, {"a": 5, "b": 5})

    import zoo_registry.builders

    monkeypatch.setattr(zoo_registry.builders, "load_builder", lambda ref, *rest: write)
    return written


def test_a_path_wins_over_a_name_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class_folders(tmp_path / "pets", {"a": 3, "b": 3})
    monkeypatch.chdir(tmp_path)
    dataset = load("pets", registry=FakeRegistry(SPEC))
    assert dataset.origin == "folder pets"
    assert "not the data set of that name" in dataset.notes[0]


def test_a_name_is_looked_for_in_the_data_path_then_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = class_folders(cache_dir() / "data" / "pets", {"a": 3, "b": 3})
    dataset = load("pets", registry=FakeRegistry(SPEC))
    assert str(cached) in dataset.origin
    class_folders(tmp_path / "second" / "pets", {"a": 3, "b": 3})
    monkeypatch.setenv("ZOO_DATA_PATH", f"{tmp_path / 'first'}:{tmp_path / 'second'}")
    dataset = load("pets", registry=FakeRegistry(SPEC))
    assert dataset.origin == f"folder {tmp_path / 'second' / 'pets'}"
    assert dataset.name == "pets"


def test_a_folder_of_the_data_path_needs_no_registration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class_folders(tmp_path / "birds", {"a": 3, "b": 3})
    monkeypatch.setenv("ZOO_DATA_PATH", str(tmp_path))
    assert load("birds").name == "birds"


def test_an_unknown_name_keeps_the_registrys_suggestions() -> None:
    with pytest.raises(UnknownName) as caught:
        load("petz")
    assert "no path and no data set" in caught.value.problem
    assert "pets" in caught.value.remedy
    assert caught.value.exit_code == 3


def test_a_path_that_is_not_there_suggests_its_neighbours(tmp_path: Path) -> None:
    touch(tmp_path / "animals.csv")
    with pytest.raises(DataError) as caught:
        load(tmp_path / "animal.csv")
    assert f"There is {tmp_path / 'animals.csv'}" in problem(caught)


def test_the_sample_stands_in_and_says_so(with_sample: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    spec = dataclasses.replace(SPEC, sources=("hf:org/pets",))
    dataset = load("pets", registry=FakeRegistry(spec))
    assert dataset.sample
    assert dataset.origin == "built-in sample of pets"
    assert "stands in for the real pets" in dataset.notes[0]
    assert "stands in" in capsys.readouterr().err
    load("pets", registry=FakeRegistry(spec))
    assert with_sample == [cache_dir() / "samples" / "pets"]
    # Without a source there is no real one to stand in for.
    assert "pets is generated image data, built in" in load("pets", registry=FakeRegistry(SPEC)).notes[0]


def test_a_refused_sample_names_every_way_out(with_sample: list[Path]) -> None:
    spec = dataclasses.replace(SPEC, sources=("hf:org/pets",))
    with pytest.raises(DataError) as caught:
        load("pets", registry=FakeRegistry(spec), allow_sample=False)
    text = problem(caught)
    for way in ("ZOO_DATA_PATH", str(cache_dir() / "data" / "pets"), "--data FOLDER", "ZOO_OFFLINE", "--no-sample"):
        assert way in text
    assert with_sample == []


def test_without_the_hubs_library_the_sample_still_stands_in(
    with_sample: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.setattr(sources, "offline", lambda: False)
    monkeypatch.setattr(sources, "reachable", lambda url: True)
    spec = dataclasses.replace(SPEC, sources=("hf:org/pets",))
    dataset = load("pets", registry=FakeRegistry(spec))
    assert dataset.sample
    assert "need the package datasets" in dataset.notes[0]
    with pytest.raises(MissingDependency, match="pip install"):
        load("hf:org/pets")


def test_the_wrong_modality_is_refused() -> None:
    with pytest.raises(DataError, match="image data, the model takes text"):
        load("pets", "text", FakeRegistry(SPEC))


def test_an_unreachable_hub_is_an_error_within_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="forbids fetching"):
        load("hf:org/pets")
    monkeypatch.delenv("ZOO_OFFLINE")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataError, match="does not answer"):
        load("hf:org/pets")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], list[tuple[Any, ...]]]:
    datasets = pytest.importorskip("datasets")
    calls: list[tuple[Any, ...]] = []

    def serve(splits: Any) -> list[tuple[Any, ...]]:
        def load_hub(name: str, config: str | None, cache_dir: str) -> Any:
            calls.append((name, config))
            return datasets.DatasetDict(splits)

        monkeypatch.setattr(datasets, "load_dataset", load_hub)
        monkeypatch.setattr(sources, "offline", lambda: False)
        monkeypatch.setattr(sources, "reachable", lambda url: True)
        return calls

    return serve


def test_images_of_the_hub_become_files_in_the_cache(hub: Callable[[Any], list[Any]]) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"image": datasets.Image(), "labels": datasets.ClassLabel(names=["cat", "dog"]), "mask": datasets.Image()}
    )
    picture = {"bytes": b"\x89PNG...", "path": None}
    photos = [{"bytes": b"\xff\xd8\xff%d" % i, "path": f"{i}.jpg"} for i in range(10)]
    rows = [{"image": photo, "labels": i % 2, "mask": picture} for i, photo in enumerate(photos)]
    rows.append({"image": picture, "labels": -1, "mask": picture})
    train = datasets.Dataset.from_list(rows * 3, features=features)
    calls = hub({"train": train, "test": train.select(range(4))})
    spec = dataclasses.replace(SPEC, sample="", sources=("hf:org/pets/small",), columns={"label": "labels"})
    with pytest.raises(DataError, match="3 of 33 rows have no input or no label"):
        load("pets", registry=FakeRegistry(spec))
    hub({"train": train.select([row for row in range(33) if row % 11 != 10]), "test": train.select(range(4))})
    shutil.rmtree(cache_dir())
    dataset = load("pets", registry=FakeRegistry(spec))
    assert calls[-1] == ("org/pets", "small")
    assert dataset.labels == ("cat", "dog")
    assert [len(dataset.splits[split]) for split in ("train", "val", "test")] == [24, 6, 4]
    first = Path(dataset.splits["test"].columns["input"][1])
    assert first.read_bytes() == b"\xff\xd8\xff1"
    assert first.suffix == ".jpg"
    assert dataset.origin == "hub org/pets/small"
    count = len(calls)
    assert load("pets", registry=FakeRegistry(spec)).fingerprint == dataset.fingerprint
    assert len(calls) == count
    assert [entry.name for entry in (cache_dir() / "data").iterdir() if not entry.name.startswith(".")] == ["pets"]


def test_the_real_library_reads_a_repository_of_image_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    image = pytest.importorskip("PIL.Image")
    for split, label, count in [("train", "a", 5), ("train", "b", 5), ("validation", "a", 1), ("validation", "b", 1)]:
        (tmp_path / "org" / "shapes" / split / label).mkdir(parents=True)
        for number in range(count):
            picture = image.new("RGB", (4, 4), (number * 20, len(split), 9 * (label == "a")))
            picture.save(tmp_path / "org" / "shapes" / split / label / f"{number}.png")
    monkeypatch.chdir(tmp_path)  # the library takes a folder of the repository's name for the repository
    monkeypatch.setattr(sources, "offline", lambda: False)
    monkeypatch.setattr(sources, "reachable", lambda url: True)
    dataset = load("hf:org/shapes")
    assert dataset.labels == ("a", "b")
    assert [len(table) for table in dataset.splits.values()] == [10, 2]
    first = Path(dataset.splits["train"].columns["input"][0])
    assert first.is_relative_to(cache_dir() / "data" / "org--shapes")
    assert first.read_bytes() == (tmp_path / "org" / "shapes" / "train" / "a" / "0.png").read_bytes()


def test_texts_of_the_hub_need_no_files(hub: Callable[[Any], list[Any]]) -> None:
    datasets = pytest.importorskip("datasets")
    part = datasets.Dataset.from_dict({"sentence": [f"words in {i}" for i in range(10)], "label": [[0], [0, 1]] * 5})
    part = part.cast_column("label", datasets.Sequence(datasets.ClassLabel(names=["x", "y"])))
    hub({"train": part, "validation": part.select(range(2))})
    dataset = load("hf:org/words", "text")
    assert (dataset.name, dataset.task, dataset.labels) == ("words", "multi-label", ("x", "y"))
    assert dataset.splits["val"].columns["label"] == [[0], [0, 1]]


def test_a_hub_that_refuses_leaves_nothing_behind(
    hub: Callable[[Any], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    hub({})

    def refuse(*args: Any, **options: Any) -> None:
        raise FileNotFoundError("Dataset 'org/none' doesn't exist on the Hub or cannot be accessed.")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(DataError, match=r"hf:org/none cannot be fetched.*doesn't exist"):
        load("hf:org/none")
    assert list((cache_dir() / "data").iterdir()) == []
    for name in ("a/b/c/d", "../../etc", "/", "a//b"):
        with pytest.raises(DataError, match="org/name/config"):
            load(f"hf:{name}")


# Real data


@pytest.mark.data
def test_the_real_photos(data_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_DATA_PATH", str(data_path))
    spec = dataclasses.replace(SPEC, name="cats_dogs", sources=("hf:microsoft/cats_vs_dogs",))
    before = sorted(data_path.joinpath("cats_dogs").rglob("*"))
    dataset = load("cats_dogs", registry=FakeRegistry(spec))
    assert dataset.labels == ("cat", "dog")
    assert [len(dataset.splits[split]) for split in ("train", "val")] == [900, 200]
    assert sum(dataset.splits["train"].columns["label"]) == 450
    assert sorted(data_path.joinpath("cats_dogs").rglob("*")) == before


@pytest.mark.data
def test_the_real_sentences(data_path: Path) -> None:
    dataset = load(data_path / "sst2", "text")
    assert dataset.labels == ("negative", "positive")
    assert [len(dataset.splits[split]) for split in ("train", "val")] == [6920, 872]


def test_source_to_store_to_labels(tmp_path: Path, pipeline) -> None:
    for label, first in [("odd", 1), ("even", 0)]:
        for number in range(first, 40, 2):
            touch(tmp_path / label / f"{number}.num", str(number))
    touch(tmp_path / "odd" / "5.num", "junk")
    dataset = load(tmp_path, "number", seed=3)
    for split in ("train", "val"):
        store = build_store(dataset.splits[split], pipeline, max_bad=0.2)
        labels = label_array(dataset, split, store.kept)
        parity = store.take(np.arange(len(store)))[:, 0, 0, 0] % 2
        assert np.array_equal(labels, parity)  # even is 0, odd is 1
