from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from text_files import NOTHING, jsonl, write

from zoo.data import corpus as module
from zoo.data.corpus import Corpus, TextFiles, load_corpus
from zoo_registry.errors import DataError, UnknownName, UsageError


def load(data: Path | str, **options: float) -> Corpus:
    return load_corpus(str(data), registry=NOTHING, **options)  # type: ignore[arg-type]


def test_a_text_file_is_a_document_a_line(tmp_path: Path) -> None:
    path = write(tmp_path / "t.txt", "\ufeff" + "".join(f"line {i}\n\n" for i in range(100)))
    corpus = load(path, val_fraction=0.1, seed=3)
    train, val = (list(corpus.splits[split]) for split in ("train", "val"))
    assert (len(train), len(val)) == (90, 10)
    assert sorted([*train, *val]) == sorted(f"line {i}" for i in range(100))
    assert list(corpus.splits["val"]) == val  # every pass is the same
    assert list(load(path, val_fraction=0.1, seed=3).splits["val"]) == val
    other = load(path, val_fraction=0.1, seed=4)
    assert list(other.splits["val"]) != val
    assert other.fingerprint != corpus.fingerprint
    assert corpus.splits["train"].lines
    assert "one document of every 10" in corpus.notes[-1]
    assert (corpus.name, corpus.path) == ("t", str(path))


def test_splits_follow_from_names(tmp_path: Path) -> None:
    write(tmp_path / "wiki.train.txt", "one\ntwo\n")
    write(tmp_path / "deep" / "er" / "book.txt", "three\n")
    write(tmp_path / "valid" / "x.txt", "four\n")
    write(tmp_path / "wiki.test.txt", "five\n")
    write(tmp_path / ".hidden.txt", "six\n")
    corpus = load(tmp_path)
    assert {split: sorted(source) for split, source in corpus.splits.items()} == {
        "train": ["one", "three", "two"], "val": ["four"], "test": ["five"],
    }  # fmt: skip


def test_tables_give_their_texts(tmp_path: Path) -> None:
    jsonl(tmp_path / "t.jsonl", [{"text": f"document {i}", "label": i % 2} for i in range(10)])
    corpus = load(tmp_path / "t.jsonl", val_fraction=0.2)
    assert (sum(1 for _ in corpus.splits["train"]), sum(1 for _ in corpus.splits["val"])) == (8, 2)
    write(tmp_path / "ner" / "train.conll", "Ann\tB-x\nsang\tO\n")
    write(tmp_path / "ner" / "val.conll", "Bob\tB-x\n")
    corpus = load(tmp_path / "ner")
    assert [list(source) for source in corpus.splits.values()] == [["Ann sang"], ["Bob"]]


def test_few_documents_still_leave_one_out(tmp_path: Path) -> None:
    corpus = load(write(tmp_path / "t.txt", "one\ntwo\nthree\n"))
    assert (sum(1 for _ in corpus.splits["train"]), sum(1 for _ in corpus.splits["val"])) == (2, 1)


def test_lines_that_are_no_utf8_are_skipped_and_counted(tmp_path: Path) -> None:
    corpus = load(write(tmp_path / "t.txt", b"good line\n" * 99 + b"caf\xe9\n"))
    texts = [text for source in corpus.splits.values() for text in source]
    assert len(texts) == 99
    assert corpus.splits["train"].notes() == ["skipped 1 of 100 lines that are not UTF-8"]
    for content in (b"caf\xe9\n" * 20, "some words\n".encode("utf-16-le") * 20, "caf\xe9".encode("latin-1")):
        with pytest.raises(DataError, match="not UTF-8") as caught:
            load(write(tmp_path / "u.txt", content))
        assert "iconv" in caught.value.remedy


def test_a_huge_line_streams_in_little_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "t.txt", "wörter und mehr ".encode() * 800_000)
    size = path.stat().st_size
    source = TextFiles([path])
    tracemalloc.start()
    lengths = [len(text.encode()) for text in source]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(lengths) + len(lengths) == size
    assert max(lengths) <= module.LONGEST
    assert peak < 8 * module.LONGEST
    assert "cut at white space" in source.notes()[0]
    assert not load(path).splits["train"].lines


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.sampled_from("aé漢😀 \n\r"), max_size=60), longest=st.integers(4, 12))
def test_nothing_is_lost_wherever_lines_and_reads_end(tmp_path: Path, text: str, longest: int) -> None:
    path = write(tmp_path / "t.txt", text)
    before, module.LONGEST = module.LONGEST, longest
    try:
        source = TextFiles([path])
        found = list(source)
    finally:
        module.LONGEST = before
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(len(piece.encode()) <= longest for piece in found)
    assert not any("UTF-8" in note for note in source.notes())


@pytest.mark.parametrize(
    ("content", "expected"), [("", "holds no text"), (" \n\n", "holds no text"), ("only one\n", "single document")]
)
def test_too_little_text(tmp_path: Path, content: str, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        load(write(tmp_path / "t.txt", content))


def test_what_cannot_be_found(tmp_path: Path) -> None:
    with pytest.raises(UnknownName):
        load("nosuch")
    with pytest.raises(DataError, match="There is no"):
        load(tmp_path / "none.txt")
    with pytest.raises(DataError, match="no text files"):
        load(tmp_path)
    write(tmp_path / "dev.txt", "a\nb\n")
    with pytest.raises(DataError, match="none to train on"):
        load(tmp_path)
    with pytest.raises(UsageError, match="fraction"):
        load(tmp_path, val_fraction=0.9)
