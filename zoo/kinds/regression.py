"""One number: scores (n,) and truth (n,) in the user's units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.kinds import Entries, Outcome

token_level = False
needs_arrays = False


def predictions(outcome: Outcome, labels: Sequence[str]) -> list[dict[str, Any]]:
    """``label`` is None, ``score`` the value, ``scores`` empty."""
    return [{"label": None, "score": float(np.ravel(row)[0]), "scores": {}} for row in outcome.scores]


def report(outcome: Outcome, labels: Sequence[str]) -> dict[str, Any]:
    """See :func:`zoo.metrics.full_regression_report`."""
    from zoo.metrics import full_regression_report

    return full_regression_report(outcome.scores, outcome.truth)


def agreement(one: Outcome, other: Outcome) -> float:
    """Values closer than a hundredth of their spread."""
    a, b = _values(one), _values(other)
    return float((np.abs(a - b) <= 0.01 * a.std() + 1e-6).mean())


def score(outcome: Outcome, labels: Sequence[str]) -> tuple[str, float]:
    return "mae", float(np.abs(_values(outcome) - np.asarray(outcome.truth)).mean())


def match(truth: Entries, ids: Sequence[int], classes: int) -> np.ndarray:
    return np.asarray(truth)


def used(truth: Entries) -> set[int]:
    return set()


def _values(outcome: Outcome) -> np.ndarray:
    return np.asarray(outcome.scores).reshape(len(outcome))
