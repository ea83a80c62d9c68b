"""Answers as parts of a text: scores (length, 2) are logits of the first and the last token of each window, truth the
lists of ``{"text", "start"}`` of each window's question.

The answer is the span with the highest sum of logits over all windows of a question: in the context, in order, at most
:data:`LONGEST` tokens. Position 0 of a window stands for "not here"; a question has no answer where every window scores
that higher than the best span anywhere (Devlin et al., "BERT", 2019, section 4.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.kinds import Entries, Outcome

LONGEST = 30
"""Most tokens of an answer."""

token_level = True
needs_arrays = True


@dataclass(frozen=True)
class Answer:
    """Of one question.

    Attributes:
        text: part of the context; empty where there is no answer.
        start, end: its characters in the context, first and one past the last; None where there is no answer.
        score: product of the probabilities of its first and its last token in its window.
    """

    text: str
    start: int | None
    end: int | None
    score: float


def predictions(outcome: Outcome, labels: Sequence[str]) -> list[dict[str, Any]]:
    """``label`` the answer's text, empty where there is none, ``score`` its probability, ``scores`` empty, ``start``
    and ``end`` its characters in the context, or None."""
    return [
        {"label": one.text, "score": one.score, "scores": {}, "start": one.start, "end": one.end}
        for one in answers(outcome, may_be_none=True)
    ]


def report(outcome: Outcome, labels: Sequence[str]) -> dict[str, Any]:
    """Exact match and F1 over words of each question's best answer, as SQuAD's own scripts have it (Rajpurkar et al.,
    2016 and 2018): where every question has an answer, one is always given. Intervals are 95 %, a seeded bootstrap
    over questions.

    Returns:
        ``{"task", "n": questions, "windows", "notes", "metrics", "intervals"}``.

    Raises:
        UsageError: no samples.
    """
    from zoo.resampling import interval, resampled_sums
    from zoo_registry.errors import UsageError

    if not len(outcome):
        raise UsageError("There is nothing to measure: the split has no samples.", "Give a split with samples.")
    given, truth = measured_answers(outcome)
    each = np.array([compare(one.text, wanted) for one, wanted in zip(given, truth, strict=True)])
    metrics, drawn = each.mean(axis=0), resampled_sums(each) / len(each)
    result: dict[str, float | None] = {"f1": float(metrics[0]), "exact_match": float(metrics[1])}
    has = np.array([bool(wanted) for wanted in truth])
    if not has.all():
        result |= {"answerable_f1": float(each[has, 0].mean()) if has.any() else None}
        result |= {"unanswerable_accuracy": float(each[~has, 1].mean())}
    return {
        "task": "question-answering",
        "n": len(given),
        "windows": len(outcome),
        "notes": [f"{len(given):,} questions were read in {len(outcome):,} windows"]
        if len(outcome) > len(given)
        else [],
        "metrics": result,
        "intervals": {"f1": interval(drawn[:, 0]), "exact_match": interval(drawn[:, 1])},
    }


def agreement(one: Outcome, other: Outcome) -> float:
    """Share of questions with the same answer, letter for letter."""
    pairs = zip(answers(one, may_be_none=True), answers(other, may_be_none=True), strict=True)
    return float(np.mean([(a.start, a.end) == (b.start, b.end) for a, b in pairs]))


def score(outcome: Outcome, labels: Sequence[str]) -> tuple[str, float]:
    given, truth = measured_answers(outcome)
    return "f1", float(np.mean([compare(one.text, wanted)[0] for one, wanted in zip(given, truth, strict=True)]))


def match(truth: Entries, ids: Sequence[int], classes: int) -> Entries:
    return truth


def used(truth: Entries) -> set[int]:
    return set()


def measured_answers(outcome: Outcome) -> tuple[list[Answer], list[list[dict[str, Any]]]]:
    """(given, wanted) of each question; none is given only where some question has no answer."""
    truth = {int(owner): list(wanted) for owner, wanted in zip(outcome.owner, outcome.truth, strict=True)}
    wanted = [truth[owner] for owner in sorted(truth)]
    return answers(outcome, may_be_none=not all(wanted)), wanted


def compare(given: str, wanted: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """(F1 over words, exact match) against the best of the wanted answers, both without case, punctuation and articles;
    no answer is right where none is wanted."""
    from torchmetrics.functional.text import squad

    texts = [one["text"] for one in wanted] or [""]
    target: Any = {"id": "", "answers": {"text": texts, "answer_start": [0] * len(texts)}}
    found = squad({"id": "", "prediction_text": given}, target)
    return float(found["f1"]) / 100, float(found["exact_match"]) / 100


def answers(outcome: Outcome, may_be_none: bool) -> list[Answer]:
    """The answer to each question, in order of ``owner``."""
    windows: dict[int, list[int]] = {}
    for place, owner in enumerate(outcome.owner):
        windows.setdefault(int(owner), []).append(place)
    return [_answer(outcome, windows[owner], may_be_none) for owner in sorted(windows)]


def _answer(outcome: Outcome, places: Sequence[int], may_be_none: bool) -> Answer:
    best, chosen = -np.inf, (places[0], 0, 0)
    lowest, emptiest = np.inf, places[0]
    for place in places:
        logits, word = outcome.scores[place], outcome.arrays[place][:, 2]
        value, first, last = best_span(logits, word)
        if value > best:
            best, chosen = value, (place, first, last)
        if (none := float(logits[0].sum())) < lowest:
            lowest, emptiest = none, place
    if may_be_none and lowest >= best:
        return Answer("", None, None, _probability(outcome, emptiest, 0, 0))
    place, first, last = chosen
    window, word = outcome.items[place], outcome.arrays[place][:, 2]
    start, end = int(window.tokens.offsets[word[first], 0]), int(window.tokens.offsets[word[last], 1])
    # Byte-level tokens bring the space before them along.
    text = window.context[start:end]
    start, end = start + len(text) - len(text.lstrip()), end - len(text) + len(text.rstrip())
    return Answer(window.context[start:end], start, end, _probability(outcome, place, first, last))


def best_span(logits: np.ndarray, word: np.ndarray) -> tuple[float, int, int]:
    """(sum of logits, first, last position) of a window's best span.

    Args:
        logits: (n, 2) of first and last token.
        word: (n,) -1 outside the context, whose tokens stand together.
    """
    context = np.flatnonzero(word >= 0)
    first, last = logits[context, 0], logits[context, 1]
    best, chosen = -np.inf, (0, 0)
    for more in range(min(LONGEST, len(context))):
        sums = first[: len(first) - more] + last[more:]
        place = int(sums.argmax())
        if sums[place] > best:
            best, chosen = float(sums[place]), (place, place + more)
    return best, int(context[chosen[0]]), int(context[chosen[1]])


def _probability(outcome: Outcome, place: int, first: int, last: int) -> float:
    logits, allowed = outcome.scores[place].astype(np.float64), outcome.arrays[place][:, 2] >= 0
    allowed[0] = True
    exponents = np.exp(logits - logits[allowed].max(axis=0)) * allowed[:, None]
    shares = exponents / exponents.sum(axis=0)
    return float(shares[first, 0] * shares[last, 1])
