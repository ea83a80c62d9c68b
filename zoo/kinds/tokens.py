"""A tag for each word: scores (length, C) are the probabilities of each token, truth a list of tag ids a sentence.

A word is tagged where its first token is. One that has no token, mostly because the sentence was cut before it, is
tagged ``O``; in notations without ``O`` it has no tag and counts as wrong. Inputs are lists of words, or plain texts
that are split into words (:mod:`zoo.words`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.class_table import class_table, plain
from zoo.entities import Scheme, count, find, scheme_of
from zoo.kinds import Entries, Outcome
from zoo.words import split_words

token_level = True
needs_arrays = True


def predictions(outcome: Outcome, labels: Sequence[str]) -> list[dict[str, Any]]:
    """``label`` the tags, one a word, ``score`` their mean probability, ``scores`` empty; ``words``; ``entities``, each
    ``{"text", "label", "start", "end", "score"}`` with the characters it spans, or the words where the input is a list.
    """
    return [
        _prediction(item, array, scores, labels)
        for item, array, scores in zip(outcome.items, outcome.arrays, outcome.scores, strict=True)
    ]


def _prediction(item: Any, array: np.ndarray, scores: np.ndarray, labels: Sequence[str]) -> dict[str, Any]:
    plain = isinstance(item, str)
    places = split_words(item) if plain else [(i, i + 1) for i in range(len(item))]
    words = [item[first:stop] for first, stop in places] if plain else list(item)
    scheme = scheme_of(labels)
    ids, certain = decided(array, scores, len(words), scheme)
    entities = []
    if scheme is not None:
        found = find(ids, np.array([len(ids)]), scheme)
        for start, stop, kind in zip(found.start, found.stop, found.kind, strict=True):
            first, end = places[start][0], places[stop - 1][1]
            text = item[first:end] if plain else " ".join(words[start:stop])
            score = float(certain[start:stop].mean())
            entities.append({"text": text, "label": scheme.types[kind], "start": first, "end": end, "score": score})
    seen = certain[certain > 0]
    return {
        "label": [labels[i] if i >= 0 else None for i in ids],
        "score": float(seen.mean()) if len(seen) else 0.0,
        "scores": {},
        "words": words,
        "entities": entities,
    }


def report(outcome: Outcome, labels: Sequence[str]) -> dict[str, Any]:
    """Entities count as right with both ends and type right, as in the conlleval script of the CoNLL shared tasks;
    ``boundary_f1`` asks for both ends alone. Tags without ``B-`` and ``I-`` are counted word by word.

    Intervals are 95 %: Wilson for precision and recall of a class, else a seeded bootstrap over sentences.

    Returns:
        ``{"task", "n": sentences, "words", "cut": words without a token, "notes", "metrics", "intervals",
        "classes"}``; classes are entity types, or tags, as in :func:`zoo.metrics.full_classification_report` without
        AUROC.

    Raises:
        UsageError: no samples.
    """
    from zoo.resampling import interval, resampled_sums, shares
    from zoo_registry.errors import UsageError

    if not len(outcome):
        raise UsageError("There is nothing to measure: the split has no samples.", "Give a split with samples.")
    scheme = scheme_of(labels)
    given, wanted, lengths, cut = tagged(outcome, scheme)
    # (sentences, classes + 2, 3) sums of right, given, wanted: classes, all words, entities whatever their type
    if scheme is None:
        names, classes = tuple(labels), _count_tags(given, wanted, lengths, len(labels))
        bare = np.zeros((len(lengths), 1, 3), np.int64)
    else:
        names, classes = scheme.types, count(given, wanted, lengths, scheme)
        bare = count(given, wanted, lengths, scheme, typed=False)
    counts = np.concatenate([classes, _count_words(given, wanted, lengths), bare], axis=1)

    def figures(sums: np.ndarray) -> dict[str, np.ndarray]:
        """Of (..., classes + 2, 3) sums."""
        of_class, (hits, found, real) = sums[..., :-2, :], np.moveaxis(sums[..., :-2, :].sum(axis=-2), -1, 0)
        accuracy = shares(sums[..., -2, 0], sums[..., -2, 2])
        if scheme is None:
            f1 = shares(2 * of_class[..., 0], of_class[..., 1] + of_class[..., 2])
            return {"accuracy": accuracy, "macro_f1": np.nansum(f1, axis=-1) / np.maximum((~np.isnan(f1)).sum(-1), 1)}
        return {
            "f1": shares(2 * hits, found + real),
            "precision": shares(hits, found),
            "recall": shares(hits, real),
            "boundary_f1": shares(2 * sums[..., -1, 0], sums[..., -1, 1] + sums[..., -1, 2]),
            "accuracy": accuracy,
        }

    sums, drawn = counts.sum(axis=0).astype(np.float64), resampled_sums(counts)
    return {
        "task": "token-classification",
        "n": len(outcome),
        "words": int(lengths.sum()),
        "cut": cut,
        "notes": [_without_token(cut, int(lengths.sum()))] if cut else [],
        "metrics": {name: plain(value) for name, value in figures(sums).items()},
        "intervals": {name: interval(values) for name, values in figures(drawn).items()},
        "classes": class_table(names, sums[:-2], drawn[:, :-2]),
    }


def agreement(one: Outcome, other: Outcome) -> float:
    """Share of sentences with the same tag on every word."""
    alike = [
        bool((a[array[:, 2] >= 0].argmax(axis=1) == b[array[:, 2] >= 0].argmax(axis=1)).all())
        for a, b, array in zip(one.scores, other.scores, one.arrays, strict=True)
    ]
    return float(np.mean(alike))


def score(outcome: Outcome, labels: Sequence[str]) -> tuple[str, float]:
    """F1 of entities, or the accuracy over words where tags name none."""
    scheme = scheme_of(labels)
    given, wanted, lengths, _ = tagged(outcome, scheme)
    if scheme is None:
        return "accuracy", float((given == wanted).mean()) if len(wanted) else 0.0
    right, found, real = count(given, wanted, lengths, scheme).sum(axis=(0, 1))
    return "f1", float(2 * right / max(found + real, 1))


def match(truth: Entries, ids: Sequence[int], classes: int) -> Entries:
    return [[ids[tag] for tag in tags] for tags in truth]


def used(truth: Entries) -> set[int]:
    return {int(tag) for tags in truth for tag in tags}


def tagged(outcome: Outcome, scheme: Scheme | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """(given, wanted) tag ids of all words, one sentence after another, the number of words of each sentence, and how
    many words have no token."""
    wanted = [np.asarray(tags, np.int64) for tags in outcome.truth]
    lengths = np.array([len(tags) for tags in wanted], np.int64)
    given = [
        decided(array, scores, length, scheme)
        for array, scores, length in zip(outcome.arrays, outcome.scores, lengths, strict=True)
    ]
    cut = sum(int((certain == 0).sum()) for _, certain in given)
    empty = [np.empty(0, np.int64)]
    return np.concatenate([*empty, *(ids for ids, _ in given)]), np.concatenate([*empty, *wanted]), lengths, cut


def decided(array: np.ndarray, scores: np.ndarray, words: int, scheme: Scheme | None) -> tuple[np.ndarray, np.ndarray]:
    """(W,) the tag of each word, and its probability; of a word without a token ``O``, or -1, and 0."""
    ids = np.full(words, -1 if scheme is None else scheme.outside, np.int64)
    certain = np.zeros(words)
    word = array[:, 2]
    at = np.flatnonzero((word >= 0) & (word < words))
    ids[word[at]] = scores[at].argmax(axis=1)
    certain[word[at]] = scores[at].max(axis=1)
    return ids, certain


def _count_tags(given: np.ndarray, wanted: np.ndarray, lengths: np.ndarray, tags: int) -> np.ndarray:
    """(sentences, tags, 3) counts: words right, given, wanted."""
    sentence = np.repeat(np.arange(len(lengths)), lengths)
    counts = np.zeros((len(lengths), tags, 3), np.int64)
    for column, (ids, chosen) in enumerate(((given, given == wanted), (given, given >= 0), (wanted, wanted >= 0))):
        np.add.at(counts[..., column], (sentence[chosen], ids[chosen]), 1)
    return counts


def _count_words(given: np.ndarray, wanted: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(sentences, 1, 3) counts: words right, and twice words."""
    sentence = np.repeat(np.arange(len(lengths)), lengths)
    right = np.bincount(sentence, given == wanted, len(lengths)).astype(np.int64)
    return np.stack([right, lengths, lengths], axis=-1)[:, None]


def _without_token(cut: int, words: int) -> str:
    return f"{cut:,} of {words:,} words have no token (cut off, or without a sign that the tokenizer knows)"
