"""Voices: scores (n, D) are unit vectors, truth (n,) speaker ids. Two recordings are of one speaker where the cosine of
their vectors reaches a threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.kinds import Entries, Outcome
from zoo_registry.errors import UsageError

SAME, OTHER = "same", "other"
CLOSE = 1e-3
"""Cosines that differ by less are the same answer."""
CHUNK = 1024

token_level = False
needs_arrays = False


def predictions(outcome: Outcome, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Each recording against the first: ``score`` the cosine of their vectors, ``label`` ``"same"`` or ``"other"`` by
    the model's threshold, at which both errors were as frequent on its validation data. Both are None for the first,
    and ``label`` where the model has no threshold. ``vector`` the unit vector, ``scores`` empty."""
    rows: list[dict[str, Any]] = []
    for place, vector in enumerate(outcome.scores):
        score = float(np.dot(vector, outcome.scores[0])) if place else None
        known = score is not None and outcome.threshold is not None
        label = (SAME if score >= outcome.threshold else OTHER) if known else None  # type: ignore[operator]
        rows.append({"label": label, "score": score, "scores": {}, "vector": np.asarray(vector).tolist()})
    return rows


def report(outcome: Outcome, labels: Sequence[str]) -> dict[str, Any]:
    """``eer`` (equal error rate), with the 95 % interval of a seeded bootstrap over speakers, ``min_dcf`` (least
    detection cost at a prior of 0.01) and the ``threshold`` of the equal error rate, over all pairs of recordings
    (:mod:`zoo.verification`); ``trials`` how many of them there are, ``speakers`` how many.

    Raises:
        UsageError: no samples. DataError: no two of one speaker, or no two speakers.
    """
    from zoo.verification import equal_error, error_interval, least_cost, trials

    if not len(outcome):
        raise UsageError("There is nothing to measure: the split has no samples.", "Give a split with samples.")
    vectors, speakers = np.stack(list(outcome.scores)), np.asarray(outcome.truth)
    same, other = trials(vectors, speakers)
    eer, threshold = equal_error(same, other)
    return {
        "task": "speaker-verification",
        "n": len(outcome),
        "speakers": len(np.unique(speakers)),
        "trials": {"same": len(same), "other": len(other)},
        "metrics": {"eer": eer, "min_dcf": least_cost(same, other), "threshold": threshold},
        "intervals": {"eer": error_interval(vectors, speakers)},
    }


def agreement(one: Outcome, other: Outcome) -> float:
    """Share of recordings for which both find the same other recording nearest, or one as close."""
    a, b = (np.stack(list(outcome.scores)) for outcome in (one, other))
    if len(a) < 2:
        return 1.0
    same = []
    for start in range(0, len(a), CHUNK):
        rows = np.arange(min(CHUNK, len(a) - start))
        mine, theirs = (vectors[start : start + CHUNK] @ vectors.T for vectors in (a, b))
        for similar in (mine, theirs):
            similar[rows, start + rows] = -np.inf
        same.append(mine.max(axis=1) - mine[rows, theirs.argmax(axis=1)] <= CLOSE)
    return float(np.concatenate(same).mean())


def score(outcome: Outcome, labels: Sequence[str]) -> tuple[str, float]:
    from zoo.verification import equal_error, trials

    same, other = trials(np.stack(list(outcome.scores)), np.asarray(outcome.truth))
    return "eer", equal_error(same, other)[0]


def match(truth: Entries, ids: Sequence[int], classes: int) -> Entries:
    """As they are: speakers need not be those that the model learnt from."""
    return truth


def used(truth: Entries) -> set[int]:
    return set()
