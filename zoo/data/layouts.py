"""Tables of texts that are more than an input and a label: tagged words, questions on contexts, pairs, prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zoo.data.columns import (
    Columns,
    all_text,
    check_roles,
    find_pair,
    find_split,
    listed,
    names_in,
    plain,
    sample_of,
    told,
)
from zoo.data.items import shorten
from zoo.data.labels import as_number, is_missing
from zoo.data.squad import answers_of, is_answers, place_answers
from zoo.data.tables import RawTable
from zoo.data.tags import to_bio
from zoo_registry.errors import DataError

_WORDS = ("tokens", "words", "token", "word", "text", "sentence")
_TAGS = ("ner_tags", "tags", "ner", "entities", "labels", "label", "pos_tags", "upos", "xpos", "pos", "chunk_tags")
_ANCHORS = ("anchor", "query", "question", "sentence", "text", "premise")
_POSITIVES = ("positive", "pos", "positives")
_NEGATIVES = ("negative", "neg", "hard_negative")
_SCORES = ("score", "similarity", "label", "labels", "similarity_score", "relatedness_score")
_PROMPTS = ("prompt", "instruction", "input", "question", "source")
_COMPLETIONS = ("completion", "response", "output", "target", "answer", "summary")
_TEXTS = ("text", "content", "document", "sentence", "body", "article")


def recognise_task(table: RawTable, *, task: str | None, overrides: Mapping[str, str]) -> Columns | None:
    """The columns of a token-classification, question-answering, embedding or generation table; None for any other.

    Args:
        task: one of these means that the table must be of that kind; None that its columns tell.

    Raises:
        DataError: the task is forced, and the table lacks a column for it; lists the columns there are.
        UsageError: an override of an unknown role.
    """
    if task not in (None, *_FINDERS):
        return None
    check_roles(table, overrides)
    for name, find in _FINDERS.items():
        if task in (name, None) and (found := find(table, overrides, task is not None)) is not None:
            if task is not None or _agrees(found, overrides):
                split = found.split
                guessed = told(table, overrides, found.input, found.labels, split, found.pair)
                return Columns(found.input, found.labels, split, guessed, found.pair, name, found.id)
        elif task == name:
            raise DataError(
                f"{table.path} has no columns for {name}; its columns are {listed(table)}.", _REMEDIES[name]
            )
    return None


def task_items(table: RawTable, columns: Columns) -> list[Any]:
    """The items of a table of texts, None where a part is missing: str, a tuple of texts, a list of words, or the dict
    of a question."""
    parts = [table.columns[name] for name in (columns.input, *columns.pair)]
    if columns.task == "token-classification":
        return [[str(word) for word in words] if words else None for words in parts[0]]
    if columns.task == "question-answering":
        names = table.columns[columns.id] if columns.id else table.lines
        return [
            None if is_missing(question) or is_missing(context)
            else {"id": str(name), "question": str(question), "context": str(context)}
            for name, question, context in zip(names, *parts, strict=True)
        ]  # fmt: skip
    if not columns.pair:
        return [None if is_missing(text) else _text(text) for text in parts[0]]
    return [None if any(map(is_missing, texts)) else tuple(map(_text, texts)) for texts in zip(*parts, strict=True)]


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def task_labels(
    table: RawTable, columns: Columns, items: Sequence[Any], values: list[Any] | None, notes: list[str]
) -> tuple[list[Any] | None, set[int]]:
    """(labels of the rows in the terms of the task, or None in a table without; rows that are left out and noted).

    Args:
        values: of the label column, with classes by name.

    Raises:
        DataError: labels that do not fit their items, with ``file:line``.
    """
    if columns.task == "token-classification" and values is not None:
        return _tags(table, items, values, notes), set()
    if columns.task == "question-answering" and values is not None:
        return _answers(table, items, values, notes)
    if columns.task == "generation":
        return [0] * len(items), set()
    if columns.task == "embedding":
        return _scores(table, columns, values), set()
    return values, set()


def _tags(table: RawTable, items: Sequence[Any], values: list[Any], notes: list[str]) -> list[Any]:
    sentences: list[list[str]] = []
    for row, (words, tags) in enumerate(zip(items, values, strict=True)):
        if words is None or tags is None:
            sentences.append([])
            continue
        if not isinstance(tags, list) or len(words) != len(tags):
            count = len(tags) if isinstance(tags, list) else 1
            raise DataError(f"{table.where(row)}: {len(words)} words have {count} tags.", "Give every word one tag.")
        missing = next((word for word, tag in enumerate(tags) if is_missing(tag)), None)
        if missing is not None:
            raise DataError(
                f"{table.place(row, missing)}: the word {shorten(words[missing])!r} has no tag.",
                "Give every word a tag; O stands for none.",
            )
        sentences.append([str(tag).strip() for tag in tags])
    found, said = to_bio(sentences, table.place)
    notes += [f"{table.path.name}: {note}" for note in said]
    return [tags or None for tags in found]


def _answers(
    table: RawTable, items: Sequence[Any], values: list[Any], notes: list[str]
) -> tuple[list[Any] | None, set[int]]:
    if all(value is None for value in values):
        return None, set()
    starts = next((table.columns[name] for name in table.columns if plain(name) in ("answer_start", "start")), None)
    given = []
    for row, value in enumerate(values):
        try:
            given.append(answers_of(value, starts[row] if starts else None) if items[row] else [])
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{table.where(row)}: the answers cannot be read: {shorten(str(error), 80)}.",
                'Write them as {"text": [...], "answer_start": [...]}.',
            ) from None
    contexts = [item["context"] if item else "" for item in items]
    names = [item["id"] if item else "" for item in items]
    labels, said = place_answers(given, contexts, names, table.path.name)
    notes += said
    skipped = {row for row, label in enumerate(labels) if label is None}
    return [None if value is None else label for value, label in zip(values, labels, strict=True)], skipped


def _scores(table: RawTable, columns: Columns, values: list[Any] | None) -> list[Any]:
    if values is None:
        return [0] * len(table)
    for row, value in enumerate(values):
        if not is_missing(value) and as_number(value) is None:
            raise DataError(
                f"{table.where(row)}: {shorten(str(value))!r} in column {columns.labels[0]!r} is no similarity score.",
                "Embeddings are trained on pairs that belong together, or on pairs with a number for their similarity.",
            )
    return values


_Finder = Callable[[RawTable, Mapping[str, str], bool], "Columns | None"]


def _find_tags(table: RawTable, overrides: Mapping[str, str], forced: bool) -> Columns | None:
    words = _first(table, overrides.get("input"), _WORDS, lambda name: _lists(table, name))
    tags = _first(table, overrides.get("label"), _TAGS, lambda name: name != words and _lists(table, name))
    if words is None or not _lists(table, words) or (tags is None and not forced):
        return None
    if tags is not None and not _lists(table, tags):
        return None
    return Columns(words, (tags,) if tags else (), find_split(table, overrides), "")


def _find_questions(table: RawTable, overrides: Mapping[str, str], forced: bool) -> Columns | None:
    question = _first(table, overrides.get("input"), ("question", "query"))
    given = next(iter(names_in(overrides.get("pair"))), None)
    context = _first(
        table, given, ("context", "passage", "paragraph", "document", "text"), lambda name: name != question
    )
    answers = _first(table, overrides.get("label"), ("answers", "answer", "answer_text"))
    if question is None or context is None:
        return None
    if not forced and (answers is None or not all(map(is_answers, sample_of(table, answers) or [None]))):
        return None
    names = _first(table, None, ("id", "qid", "question_id"))
    labels = (answers,) if answers else ()
    return Columns(question, labels, find_split(table, overrides), "", (context,), id=names)


def _find_embedding(table: RawTable, overrides: Mapping[str, str], forced: bool) -> Columns | None:
    split = find_split(table, overrides)
    label = overrides.get("label") or (_first(table, None, _SCORES) if forced else None)
    labels = (label,) if label else ()
    anchor, others = overrides.get("input"), names_in(overrides.get("pair"))
    positive = _first(table, None, _POSITIVES)
    if not others and positive is not None:
        anchor = _first(table, anchor, _ANCHORS)
        negative = _first(table, None, _NEGATIVES)
        others = (positive, negative) if negative else (positive,)
    elif not others and forced:
        anchor, others = find_pair(table, anchor, {split, label})
    elif not forced:
        return None
    if anchor is None and others:
        anchor = _first(table, None, _ANCHORS, lambda name: name not in others)
    if anchor is None or not others or not all(all_text(table, name) for name in (anchor, *others)):
        return None
    return Columns(anchor, labels, split, "", others)


def _find_generation(table: RawTable, overrides: Mapping[str, str], forced: bool) -> Columns | None:
    if not forced:
        return None
    split = find_split(table, overrides)
    text, after = overrides.get("input"), names_in(overrides.get("pair"))[:1]
    prompt = text or _first(table, None, _PROMPTS, lambda name: all_text(table, name))
    if prompt is not None and not after and (text is None or plain(text) in _PROMPTS):
        answer = _first(table, None, _COMPLETIONS, lambda name: name != prompt and all_text(table, name))
        after = (answer,) if answer else ()
    if text is None and after:
        text = prompt
    texts = [name for name in table.columns if name not in (split, *after) and all_text(table, name)]
    text = text or next((name for word in _TEXTS for name in texts if plain(name) == word), None)
    if text is None and not texts:
        text = _first(table, None, _WORDS, lambda name: _lists(table, name))
    if text is None and texts:
        text = max(texts, key=lambda name: sum(map(len, sample_of(table, name))))
    return None if text is None else Columns(text, (), split, "", after)


_FINDERS: dict[str, _Finder] = {
    "token-classification": _find_tags,
    "question-answering": _find_questions,
    "embedding": _find_embedding,
    "generation": _find_generation,
}
_REMEDIES = {
    "token-classification": "Give CoNLL files, or a list of words and a list of tags in each row (tokens, ner_tags).",
    "question-answering": "Name them with --input-column (the question), --pair-column (the context) and "
    "--label-column (the answers).",
    "embedding": "Name two columns of texts that belong together with --input-column and --pair-column.",
    "generation": "Name the column of texts with --input-column.",
}


def _first(
    table: RawTable, given: str | None, names: Sequence[str], fits: Callable[[str], bool] = lambda name: True
) -> str | None:
    """The named column, else the first of the usual names (the most telling first) that fits."""
    if given:
        return given
    return next((name for word in names for name in table.columns if plain(name) == word and fits(name)), None)


def _lists(table: RawTable, name: str) -> bool:
    values = sample_of(table, name)
    return bool(values) and all(isinstance(value, list) for value in values)


def _agrees(found: Columns, overrides: Mapping[str, str]) -> bool:
    """False where the user named other columns for what was recognised."""
    return overrides.get("input", found.input) == found.input and overrides.get("label", "") in ("", *found.labels)
