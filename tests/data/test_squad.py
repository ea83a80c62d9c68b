from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from text_files import items, jsonl, labels, load, write

from zoo.data.squad import answers_of, place_answers
from zoo_registry.errors import DataError

CONTEXT = "Ann was born in Rome. Rome is old."


def question(number: int, answer: str | None = "Rome", start: int = 16, context: int = 0) -> dict[str, Any]:
    answers = [] if answer is None else [{"text": answer, "answer_start": start}]
    return {"id": f"q{number}", "question": f"where {number}?", "answers": answers, "is_impossible": answer is None}


def squad(path: Path, paragraphs: list[list[dict[str, Any]]]) -> Path:
    found = [{"context": f"{CONTEXT} {number}", "qas": qas} for number, qas in enumerate(paragraphs)]
    return write(path, json.dumps({"version": "2", "data": [{"title": "t", "paragraphs": found}]}))


def test_squad_files_of_both_versions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    squad(tmp_path / "train-v2.0.json", [[question(0), question(1, None)], [question(2, "Ann", 0)]])
    squad(tmp_path / "dev-v2.0.json", [[question(3)]])
    dataset = load(tmp_path)
    assert (dataset.task, dataset.labels, list(dataset.splits)) == ("question-answering", (), ["train", "val"])
    assert items(dataset)[0] == {"id": "q0", "question": "where 0?", "context": f"{CONTEXT} 0"}
    assert labels(dataset) == [[{"text": "Rome", "start": 16}], [], [{"text": "Ann", "start": 0}]]
    assert "train: 3 questions (1 without an answer)" in capsys.readouterr().err


def test_no_context_is_in_both_splits(tmp_path: Path) -> None:
    path = squad(tmp_path / "q.json", [[question(10 * i + j) for j in range(4)] for i in range(10)])
    dataset = load(path, seed=2)
    contexts = [{item["context"] for item in items(dataset, split)} for split in ("train", "val")]
    assert not contexts[0] & contexts[1]
    assert (len(dataset.splits["train"]), len(dataset.splits["val"])) == (32, 8)
    assert any("no context in both" in note for note in dataset.notes)
    with pytest.raises(DataError, match="too few"):
        load(squad(tmp_path / "one.json", [[question(0), question(1)]]))


def test_answers_move_to_their_nearest_place_or_are_left_out(tmp_path: Path) -> None:
    qas = [question(i) for i in range(40)] + [question(40, "Rome", 20), question(41, "Paris")]
    path = squad(tmp_path / "train.json", [qas, [question(50)]])
    dataset = load(path)
    by_name = {
        item["id"]: answers
        for split in dataset.splits
        for item, answers in zip(items(dataset, split), labels(dataset, split), strict=True)
    }
    assert by_name["q40"] == [{"text": "Rome", "start": 22}]
    assert "q41" not in by_name
    assert any("1 answers stand elsewhere" in note and "q40" in note for note in dataset.notes)
    assert any("1 of 43 questions" in note and "q41" in note for note in dataset.notes)
    with pytest.raises(DataError, match="of 10 questions have an answer that their context does not hold: q0"):
        load(squad(path, [[question(0, "Paris"), *(question(i) for i in range(1, 10))]]))


@settings(max_examples=200, deadline=None)
@given(context=st.text("ab", max_size=12), text=st.text("ab", min_size=1, max_size=3), start=st.integers(-3, 15))
def test_the_nearest_place_is_found(context: str, text: str, start: int) -> None:
    places = [place for place in range(len(context)) if context[place : place + len(text)] == text]
    if not places:
        with pytest.raises(DataError):
            place_answers([[(text, start)]], [context], ["q"], "f")
        return
    (found,), _ = place_answers([[(text, start)]], [context], ["q"], "f")
    assert found is not None
    place = found[0]["start"]
    assert place in places
    assert abs(place - start) == min(abs(other - start) for other in places)


def test_flat_tables(tmp_path: Path) -> None:
    answers = {"text": ["Rome", "Rome"], "answer_start": [16, 22]}
    records = [
        {"qid": f"n{i}", "question": "where?", "context": f"{CONTEXT} {i}", "answers": answers} for i in range(4)
    ]
    dataset = load(jsonl(tmp_path / "t.jsonl", records))
    assert dataset.task == "question-answering"
    assert labels(dataset)[0] == [{"text": "Rome", "start": 16}, {"text": "Rome", "start": 22}]
    assert items(dataset)[0]["id"].startswith("n")
    text = "question,context,answer,answer_start\n" + "".join(f"where?,{CONTEXT} {i},Rome,16\n" for i in range(4))
    assert labels(load(write(tmp_path / "t.csv", text), task="question-answering"))[0] == [
        {"text": "Rome", "start": 16}
    ]


def test_forms_of_answers() -> None:
    wanted = [("Rome", 16)]
    for value in (
        {"text": ["Rome"], "answer_start": [16]},
        {"text": "Rome", "answer_start": 16},
        [{"text": "Rome", "answer_start": 16}],
        '{"text": ["Rome"], "answer_start": [16]}',
    ):
        assert answers_of(value) == wanted
    assert answers_of("Rome", "16") == wanted
    assert answers_of([]) == answers_of(None) == answers_of({"text": [], "answer_start": []}) == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "t.json:1: Expecting"),
        ("3", "holds JSON, but no records"),
        ('{"data": [{"paragraphs": [{"qas": 3}]}]}', "no SQuAD file"),
        ('{"data": []}', "has no rows"),
        ("[1]", "no records"),
    ],
)
def test_other_json_is_named(tmp_path: Path, content: str, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        load(write(tmp_path / "t.json", content))
    assert expected in str(caught.value)


def test_a_list_of_records_is_a_table(tmp_path: Path) -> None:
    records = [{"text": f"film number {i}", "label": "ab"[i % 2]} for i in range(8)]
    assert load(write(tmp_path / "t.json", json.dumps(records))).labels == ("a", "b")
