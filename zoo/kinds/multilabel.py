"""Any number of C labels: scores (n, C) are probabilities, truth (n, C) zeros and ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.kinds import Entries, Outcome

THRESHOLD = 0.5

token_level = False
needs_arrays = False


def predictions(outcome: Outcome, labels: Sequence[str]) -> list[dict[str, Any]]:
    """``label`` lists every label of probability one half and more, ``score`` is the highest probability."""
    rows = []
    for row in outcome.scores:
        scores = {label: float(score) for label, score in zip(labels, row, strict=True)}
        chosen = [label for label, score in scores.items() if score >= THRESHOLD]
        rows.append({"label": chosen, "score": float(np.max(row)), "scores": scores})
    return rows


def report(outcome: Outcome, labels: Sequence[str]) -> dict[str, Any]:
    """See :func:`zoo.metrics.full_multilabel_report`."""
    from zoo.metrics import full_multilabel_report

    return full_multilabel_report(outcome.scores, outcome.truth, labels)


def agreement(one: Outcome, other: Outcome) -> float:
    """The same set of labels."""
    return float((_decided(one) == _decided(other)).all(axis=1).mean())


def score(outcome: Outcome, labels: Sequence[str]) -> tuple[str, float]:
    return "exact_match", float((_decided(outcome) == (np.asarray(outcome.truth) >= THRESHOLD)).all(axis=1).mean())


def match(truth: Entries, ids: Sequence[int], classes: int) -> np.ndarray:
    found, places = np.asarray(truth), np.asarray(ids)
    target = np.zeros((len(found), classes), np.float32)
    known = places >= 0
    target[:, places[known]] = found[:, known]
    return target


def used(truth: Entries) -> set[int]:
    return set(np.flatnonzero(np.asarray(truth).any(axis=0)).tolist())


def _decided(outcome: Outcome) -> np.ndarray:
    return np.asarray(outcome.scores) >= THRESHOLD
