from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from text_files import items, jsonl, labels, load, write

from zoo.data.conll import looks_like_conll, read_conll
from zoo_registry.errors import DataError

TRAIN = "Ann\tB-person\nLee\tI-person\nsang\tO\n\t\nin\tO\nRome\tB-place\n"
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

words = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=6)
sentence = st.lists(st.tuples(words, st.sampled_from(["O", "B-x", "NN"])), min_size=1, max_size=4)


@quick
@given(
    sentences=st.lists(sentence, min_size=1, max_size=4),
    mark=st.sampled_from("\t "),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_whatever_is_written_is_read_back(
    tmp_path: Path, sentences: list[list[tuple[str, str]]], mark: str, end: str
) -> None:
    sentences = [
        [(word if word[0] not in "#\ufeff" and word != "-DOCSTART-" else "x", tag) for word, tag in one]
        for one in sentences
    ]
    text = (end + end).join(end.join(mark.join(pair) for pair in one) for one in sentences)
    table = read_conll(write(tmp_path / "t.conll", text + end))
    assert table.columns["tokens"] == [[word for word, _ in one] for one in sentences]
    assert table.columns["tags"] == [[tag for _, tag in one] for one in sentences]


@quick
@given(content=st.binary(max_size=80))
def test_any_bytes_give_sentences_or_a_clear_error(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "t.conll", content)
    looks_like_conll(path)
    try:
        table = read_conll(path)
    except DataError as error:
        complaint = error.problem
    else:
        complaint = str(path)
        assert all(map(len, table.columns["tokens"]))
    assert str(path) in complaint


def test_columns_comments_and_document_marks(tmp_path: Path) -> None:
    text = "-DOCSTART- -X- -X- O\n\n# id 7\nEU NNP B-NP B-ORG\n# NN O O\n\n\n# NN O O\nok UH O O\n"
    table = read_conll(write(tmp_path / "t.conll", text))
    assert table.columns["tokens"] == [["EU", "#"], ["#", "ok"]]
    assert table.columns["tags"] == [["B-ORG", "O"], ["O", "O"]]
    assert [table.place(0, 1), table.place(1, 0)] == [f"{tmp_path}/t.conll:5", f"{tmp_path}/t.conll:8"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\tO\nb\n", "t.conll:2: the word 'b' has no tag"),
        ("a\tO\nb\t\n", "t.conll:2: the word 'b' has no tag"),
        ("a\tO\n\tO\n", "t.conll:2: the tag 'O' has no word"),
        ("a\tB-x\nb\tperson\n", "t.conll:2: 'person' is no tag of BIO"),
        ("\n\n", "has no rows"),
        ("a\tO\nb\tO\n", "same tag, 'O'"),
        (b"caf\xe9\tO\n", "t.conll:1: the file is not UTF-8"),
    ],
)
def test_faults_are_named_with_the_line(tmp_path: Path, text: str | bytes, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        load(write(tmp_path / "t.conll", text))
    assert expected in caught.value.problem
    assert caught.value.remedy


@pytest.mark.parametrize("names", [("train.conll", "dev.conll"), ("train.txt", "test.txt"), ("train.bio", "val.iob2")])
def test_a_folder_of_split_files(tmp_path: Path, names: tuple[str, str]) -> None:
    write(tmp_path / names[0], "\n".join([TRAIN] * 3))
    write(tmp_path / names[1], "to\tO\nNew\tB-place\nYork\tI-place\n")
    dataset = load(tmp_path)
    assert (dataset.task, dataset.modality) == ("token-classification", "text")
    assert dataset.labels[:2] == ("O", "B-person")
    assert "I-place" in dataset.labels or "val" not in names[1]  # an x of several words need not be in training
    assert [*items(dataset), *items(dataset, "val")][:2] == [["Ann", "Lee", "sang"], ["in", "Rome"]]
    assert all(len(a) == len(b) for a, b in zip(items(dataset), labels(dataset), strict=True))


def test_what_was_read_is_counted_and_repaired_aloud(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "train.conll", TRAIN + "\nof\tO\nParis\tI-place\n")
    write(tmp_path / "val.conll", TRAIN)
    dataset = load(tmp_path)
    said = capsys.readouterr().err
    assert "train: 3 sentences (person 1, place 2)" in said
    assert "train.conll: 1 tag goes on with no entity" in said
    assert f"open one: {tmp_path}/train.conll:9" in said
    assert [dataset.labels[tag] for tag in labels(dataset)[2]] == ["O", "B-place"]
    assert any("2 items are in both train and val: 'Ann Lee sang'" in note for note in dataset.notes)


def test_an_unknown_type_in_validation_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "train.conll", TRAIN)
    write(tmp_path / "val.conll", "x\tB-thing\n")
    with pytest.raises(DataError, match="the label 'B-thing'"):
        load(tmp_path)


def test_every_type_of_entity_stays_in_training(tmp_path: Path) -> None:
    rare = "one\tB-rare\n\n"
    dataset = load(write(tmp_path / "t.conll", rare + TRAIN * 10), seed=3)
    seen = {tag for tags in labels(dataset) for tag in tags}
    assert seen == set(range(len(dataset.labels)))
    assert len(dataset.splits["val"]) > 1


def test_tables_with_lists_of_words_and_tags(tmp_path: Path) -> None:
    records = [
        {"id": i, "tokens": ["Ann", "sang"], "pos_tags": ["NN", "VB"], "ner_tags": ["B-x", "O"]} for i in range(6)
    ]
    dataset = load(jsonl(tmp_path / "t.jsonl", records))
    assert (dataset.task, dataset.labels) == ("token-classification", ("O", "B-x"))
    assert load(tmp_path / "t.jsonl", columns={"label": "pos_tags"}).labels == ("NN", "VB")
    records[1]["ner_tags"] = ["O"]
    with pytest.raises(DataError, match=r"t.jsonl:2: 2 words have 1 tags"):
        load(jsonl(tmp_path / "t.jsonl", records))


def test_parquet_tags_have_their_names_in_the_metadata(tmp_path: Path) -> None:
    tags = {"feature": {"names": ["O", "B-x", "I-x"], "_type": "ClassLabel"}, "_type": "List"}
    info = {"huggingface": json.dumps({"info": {"features": {"ner_tags": tags, "tokens": {"dtype": "string"}}}})}
    table = pyarrow.table({"tokens": [["a", "b"]] * 5, "ner_tags": [[1, 2]] * 4 + [[0, 1]]})
    parquet.write_table(table.replace_schema_metadata(info), tmp_path / "t.parquet")
    assert load(tmp_path / "t.parquet").labels == ("O", "B-x", "I-x")


def test_plain_text_is_no_labelled_data(tmp_path: Path) -> None:
    path = write(tmp_path / "t.txt", "some words\n\nand some more of them\n")
    with pytest.raises(DataError, match="plain text without labels") as caught:
        load(path)
    assert "zoo pretrain" in caught.value.remedy
    with pytest.raises(DataError, match=r"u.txt:3: the word 'word' has no tag"):
        load(write(tmp_path / "u.txt", "some words\n\nword\n"), task="token-classification")


@pytest.mark.data
def test_wnut17(data_path: Path) -> None:
    dataset = load(data_path / "wnut17")
    assert {split: len(table) for split, table in dataset.splits.items()} == {"train": 3394, "val": 1009}
    assert len(dataset.labels) == 13
    assert dataset.task == "token-classification"
