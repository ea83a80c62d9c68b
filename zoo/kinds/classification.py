"""One label of C: scores (n, C) are probabilities, truth (n,) class ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.kinds import Entries, Outcome

token_level = False
needs_arrays = False


def predictions(outcome: Outcome, labels: Sequence[str]) -> list[dict[str, Any]]:
    """``label`` the best one, ``score`` its probability, ``scores`` all probabilities by label."""
    rows = []
    for row in outcome.scores:
        best = int(np.argmax(row))
        scores = {label: float(score) for label, score in zip(labels, row, strict=True)}
        rows.append({"label": labels[best], "score": float(row[best]), "scores": scores})
    return rows


def report(outcome: Outcome, labels: Sequence[str]) -> dict[str, Any]:
    """See :func:`zoo.metrics.full_classification_report`."""
    from zoo.metrics import full_classification_report

    return full_classification_report(outcome.scores, outcome.truth, labels)


def agreement(one: Outcome, other: Outcome) -> float:
    return float((_decided(one) == _decided(other)).mean())


def score(outcome: Outcome, labels: Sequence[str]) -> tuple[str, float]:
    return "accuracy", float((_decided(outcome) == np.asarray(outcome.truth)).mean())


def match(truth: Entries, ids: Sequence[int], classes: int) -> np.ndarray:
    return np.asarray(ids)[np.asarray(truth)]


def used(truth: Entries) -> set[int]:
    return set(np.unique(np.asarray(truth)).tolist())


def _decided(outcome: Outcome) -> np.ndarray:
    return np.asarray(outcome.scores).argmax(axis=1)
