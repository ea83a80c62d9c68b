from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from text_files import items, jsonl, labels, load, write

from zoo.data.dataset import DataSet
from zoo.data.items import identity
from zoo.data.sources import load_dataset
from zoo_registry.errors import DataError, UsageError


def everything(dataset: DataSet) -> list[Any]:
    return [item for split in dataset.splits for item in items(dataset, split)]


def pairs(path: Path, first: str, second: str, label: list[Any] | None = None, name: str = "label") -> Path:
    rows: list[dict[str, Any]] = [{first: f"one thing {i}", second: f"another thing {i}"} for i in range(12)]
    for i, row in enumerate(rows):
        row |= {name: label[i % len(label)]} if label else {}
    return jsonl(path, rows)


# Pairs


@pytest.mark.parametrize(
    ("first", "second"),
    [("sentence1", "sentence2"), ("Premise", "hypothesis"), ("question1", "question2"), ("text_a", "text_b"),
     ("question", "sentence"), ("query", "passage")],
)  # fmt: skip
def test_pairs_are_known_by_their_usual_names(tmp_path: Path, first: str, second: str) -> None:
    dataset = load(pairs(tmp_path / "t.jsonl", first, second, ["no", "yes"]))
    assert (dataset.task, dataset.labels) == ("classification", ("no", "yes"))
    assert ("one thing 0", "another thing 0") in everything(dataset)
    assert f"input = {first}, pair = {second}, label = label" in dataset.notes[0]


def test_a_named_pair_wins(tmp_path: Path) -> None:
    path = pairs(tmp_path / "t.jsonl", "left", "right", [0.5, 1.5])
    dataset = load(path, columns={"input": "right", "pair": "left"})
    assert dataset.task == "regression"
    assert ("another thing 0", "one thing 0") in everything(dataset)
    assert isinstance(items(load(path))[0], str)
    with pytest.raises(DataError, match="no column 'middle'"):
        load(path, columns={"pair": "middle"})


def test_a_pair_with_an_empty_text_is_left_out(tmp_path: Path) -> None:
    rows = "".join(f"a b {i},c d {i},{i % 2}\n" for i in range(40))
    dataset = load(write(tmp_path / "t.csv", f"sentence1,sentence2,label\n{rows}a b, ,1\n"))
    assert sum(map(len, dataset.splits.values())) == 40
    assert any("1 of 41 rows" in note and "t.csv:42" in note for note in dataset.notes)


def test_equal_pairs_across_splits_are_reported(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", "sentence1,sentence2,label\na b,c,0\nx,y,1\n")
    write(tmp_path / "val.csv", "sentence1,sentence2,label\na b,c,0\na,b c,1\n")
    assert any("1 item is in both train and val: 'a b' | 'c'" in note for note in load(tmp_path).notes)


# Embedding


def test_anchors_and_positives(tmp_path: Path) -> None:
    dataset = load(pairs(tmp_path / "t.jsonl", "anchor", "positive"))
    assert (dataset.task, dataset.labels) == ("embedding", ())
    assert ("one thing 0", "another thing 0") in everything(dataset)
    assert set(labels(dataset)) == {0}
    rows = [{"query": f"q {i}", "positive": f"p {i}", "negative": f"n {i}"} for i in range(6)]
    assert ("q 0", "p 0", "n 0") in everything(load(jsonl(tmp_path / "u.jsonl", rows)))


def test_pairs_can_be_taken_for_embedding(tmp_path: Path) -> None:
    dataset = load(pairs(tmp_path / "t.jsonl", "sentence1", "sentence2"), task="embedding")
    assert (dataset.task, labels(dataset)[0]) == ("embedding", 0)
    scored = load(pairs(tmp_path / "t.jsonl", "sentence1", "sentence2", [0, 2.5, 5], "score"), task="embedding")
    assert {type(label) for label in labels(scored)} == {float}
    with pytest.raises(DataError, match=r"t.jsonl:1: 'entails' in column 'label' is no similarity score"):
        load(pairs(tmp_path / "t.jsonl", "premise", "hypothesis", ["entails", "not"]), task="embedding")
    with pytest.raises(DataError, match="no columns for embedding"):
        load(write(tmp_path / "t.csv", "text,label\na b,0\nc d,1\n"), task="embedding")


# Generation


def test_any_texts_can_be_generated_from(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "id,text,label\n" + "".join(f"{i},some text {i},{i % 2}\n" for i in range(8)))
    dataset = load(path, task="generation")
    assert (dataset.task, dataset.labels, set(labels(dataset))) == ("generation", (), {0})
    assert items(dataset)[0].startswith("some text")
    lines = write(tmp_path / "t.txt", "first line\n\nsecond line\nthird line\n")
    assert len(load(lines, task="generation").splits["train"]) == 2
    for first, second in (("prompt", "completion"), ("instruction", "output"), ("question", "answer")):
        dataset = load(pairs(tmp_path / "t.jsonl", first, second), task="generation")
        assert ("one thing 0", "another thing 0") in everything(dataset)


# What does not fit


def test_a_task_that_the_data_is_not_for(tmp_path: Path) -> None:
    for name in "ab":
        for number in range(3):
            write(tmp_path / name / f"{number}.txt", f"{name} text {number}")
    with pytest.raises(DataError, match="holds texts, which are no data for token-classification"):
        load(tmp_path, task="token-classification")
    with pytest.raises(UsageError, match="is for texts"):
        load_dataset(str(tmp_path), registry=None, modality="image", task="embedding")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no role"):
        load(pairs(tmp_path / "t.jsonl", "anchor", "positive"), columns={"colour": "red"})


def test_the_fingerprint_sees_texts_and_labels(tmp_path: Path) -> None:
    def mark(name: str, *lines: str) -> str:
        return load(write(tmp_path / name, "\n\n".join(lines) + "\n\nz\tO\n")).fingerprint

    first = mark("a.conll", "a\tB-x\nb\tO", "c\tO")
    assert first == mark("b.conll", "a\tB-x\nb\tO", "c\tO")
    assert first != mark("c.conll", "a\tB-x\nc\tO", "b\tO")
    assert first != mark("d.conll", "a\tB-x\nb\tB-x", "c\tO")
    assert identity(("a", "b"), "text") != identity(["a", "b"], "text") != identity("a b", "text")


# Files that are not what they should be


@pytest.mark.parametrize(
    ("name", "content", "expected", "remedy"),
    [
        ("t.csv", b"a single line of text", "its only line, 'a single line of text', names the columns", "first line"),
        ("t.csv", "text,label\ncaf\xe9 noir,1\n".encode("cp1252"), "Latin-1/Windows-1252", "iconv -f WINDOWS-1252"),
        ("t.csv", "text,label\nSch\xf6n".encode() + b" \xff\n", "t.csv:2: the file is not UTF-8.", "UTF-8"),
        ("t.csv", "text,label\nwords,1\n".encode("utf-16-le"), "NUL bytes (it looks like UTF-16)", "iconv -f UTF-16"),
        ("t.jsonl", b'{"text": "a"}\n{"text": "\0"}\n', "t.jsonl:2: the file holds NUL bytes.", "UTF-8"),
    ],
)  # fmt: skip
def test_encodings_are_named(tmp_path: Path, name: str, content: bytes, expected: str, remedy: str) -> None:
    with pytest.raises(DataError) as caught:
        load(write(tmp_path / name, content))
    assert expected in caught.value.problem
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.conll", "t.txt", "t.json"])
def test_a_huge_line_is_a_short_error(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, b"word, " * 500_000)
    with pytest.raises(DataError) as caught:
        load(path)
    assert len(str(caught.value)) < 1000


def test_a_line_of_data_for_a_header_is_shortened(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv", ",".join(f"{'long words ' * 50}{i}" for i in range(60)) + "\n" + ",".join("1" * 60) + "\n"
    )
    with pytest.raises(DataError, match="and 40 more") as caught:
        load(path)
    assert len(str(caught.value)) < 2000


def test_lines_may_end_in_cr_alone(tmp_path: Path) -> None:
    rows = "".join(f"some text {i};{i % 2}\r" for i in range(8))
    dataset = load(write(tmp_path / "t.csv", f"text;label\r{rows}"))
    assert sum(map(len, dataset.splits.values())) == 8
    records = "\r".join(f'{{"text": "some text {i}", "label": {i % 2}}}' for i in range(8))
    assert sum(map(len, load(write(tmp_path / "t.jsonl", records)).splits.values())) == 8


def test_empty_text_files_are_left_out_and_said(tmp_path: Path) -> None:
    for name in "ab":
        for number in range(20):
            write(tmp_path / name / f"{number}.txt", f"text {number}")
    blank = write(tmp_path / "a" / "blank.txt", " \n")
    dataset = load(tmp_path)
    assert sum(map(len, dataset.splits.values())) == 40
    assert any("1 of 41 files hold no text" in note and str(blank) in note for note in dataset.notes)
