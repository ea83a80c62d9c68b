"""Questions on texts: SQuAD files, and answers at their place in the context."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.data.items import shorten
from zoo.data.labels import as_number, is_missing
from zoo.data.tables import RawTable, read_text
from zoo_registry.errors import DataError

_MAX_LOST = 0.05
_REMEDY = 'Give SQuAD JSON, {"data": [{"paragraphs": [{"context", "qas": [...]}]}]}, or a list of records.'


def read_json(path: Path) -> RawTable:
    """SQuAD JSON (versions 1 and 2, Rajpurkar et al. 2016 and 2018) or a JSON list of records, as a table.

    A SQuAD file gives the columns ``id``, ``question``, ``context`` and ``answers`` (``{"text": [...], "answer_start":
    [...]}``, empty where the question has no answer; None where the file has no answers, as test files).

    Raises:
        DataError: not JSON, or of another shape.
    """
    text = read_text(path)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        why = f":{error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else ": not JSON"
        raise DataError(f"{path}{why}.", _REMEDY) from None
    records = found.get("data") if isinstance(found, dict) else found
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise DataError(f"{path} holds JSON, but no records.", _REMEDY)
    if not any("paragraphs" in record for record in records):
        names = dict.fromkeys(name for record in records for name in record)
        columns = {name: [record.get(name) for record in records] for name in names}
        return RawTable(path, columns, list(range(1, len(records) + 1)))
    try:
        questions = list(_questions(records))
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is no SQuAD file: {shorten(f'{type(error).__name__} {error}', 80)}.", _REMEDY
        ) from None
    names = dict.fromkeys(("id", "question", "context", "answers"))
    return RawTable(path, {name: [one[name] for one in questions] for name in names}, [one["id"] for one in questions])


def _questions(articles: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for article in articles:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                answers = [] if question.get("is_impossible") else question.get("answers")
                yield {
                    "id": str(question["id"]),
                    "question": question["question"],
                    "context": paragraph["context"],
                    "answers": answers
                    and {
                        "text": [one["text"] for one in answers],
                        "answer_start": [one.get("answer_start", 0) for one in answers],
                    },
                }


def is_answers(value: Any) -> bool:
    """True for what :func:`answers_of` reads as answers with their places."""
    if isinstance(value, str):
        return value.startswith(("{", "[")) and '"text"' in value
    if isinstance(value, Mapping):
        return "text" in value
    return isinstance(value, list) and all(isinstance(one, Mapping) and "text" in one for one in value)


def answers_of(value: Any, start: Any = None) -> list[tuple[str, int]]:
    """(text, place) of the answers in any usual form: ``{"text": [...], "answer_start": [...]}``, a list of ``{"text",
    "answer_start"}``, either as JSON text, or one answer as plain text with its place ``start``.

    Raises:
        ValueError: none of these.
    """
    if isinstance(value, str) and is_answers(value):
        value = json.loads(value)
    if isinstance(value, str):
        return [(value, int(as_number(start) or 0))]
    if is_missing(value):
        return []
    if isinstance(value, Mapping):
        texts = value["text"]
        if isinstance(texts, str):
            texts = [texts]
        starts = value.get("answer_start", value.get("start", 0))
        starts = starts if isinstance(starts, list) else [starts] * len(texts)
        if len(texts) != len(starts):
            raise ValueError(f"{len(texts)} answers with {len(starts)} places")
        return [(str(text), int(place)) for text, place in zip(texts, starts, strict=True)]
    return [(str(one["text"]), int(one.get("answer_start", one.get("start", 0)))) for one in value]


def place_answers(
    answers: Sequence[Sequence[tuple[str, int]]], contexts: Sequence[str], names: Sequence[str], source: str
) -> tuple[list[list[dict[str, Any]] | None], list[str]]:
    """Answers as ``{"text", "start"}`` with ``context[start:start + len(text)] == text``, and notes on those that were
    elsewhere.

    An answer that does not stand where it should is looked for in the context: the occurrence nearest to its place is
    taken. One that occurs nowhere is dropped. None stands for a question all of whose answers were dropped, which
    must not be taken for an unanswerable one; an empty list for a question without an answer.

    Args:
        names: ids of the questions, for messages.
        source: the file, for messages.

    Raises:
        DataError: more than 5 % of the questions have answers that are nowhere in their contexts.
    """
    labels: list[list[dict[str, Any]] | None] = []
    moved: list[str] = []
    lost: list[str] = []
    for name, context, given in zip(names, contexts, answers, strict=True):
        placed = []
        for text, start in given:
            found = (
                start if context[max(start, 0) :].startswith(text) and start >= 0 else _nearest(context, text, start)
            )
            if found is not None and text:
                placed.append({"text": text, "start": found})
                if found != start:
                    moved.append(name)
        if given and not placed:
            lost.append(name)
        labels.append(placed if placed or not given else None)
    notes = []
    if moved:
        notes.append(f"{source}: {len(moved)} answers stand elsewhere in their contexts than said: {_some(moved)}")
    if lost:
        text = f"{source}: {len(lost)} of {len(labels)} questions have an answer that their context does not hold"
        if len(lost) > _MAX_LOST * len(labels):
            raise DataError(f"{text}: {_some(lost)}.", "Answers must be parts of the context, letter for letter.")
        notes.append(f"left out: {text}: {_some(lost)}")
    return labels, notes


def _nearest(context: str, text: str, start: int) -> int | None:
    before = context.rfind(text, 0, max(start, 0) + len(text))
    after = context.find(text, max(start, 0))
    found = [place for place in (before, after) if place >= 0]
    return min(found, key=lambda place: abs(place - start), default=None)


def _some(names: Sequence[str]) -> str:
    return ", ".join(shorten(name) for name in names[:5]) + (", ..." if len(names) > 5 else "")
