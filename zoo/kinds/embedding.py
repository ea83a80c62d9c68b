"""Vectors: scores are unit vectors, (K, D) a sample of K texts (anchor, positive, ...) or (D,) of a single one; truth
is zeros where the texts simply belong together, or float scores of their similarity.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.kinds import Entries, Outcome
from zoo_registry.errors import UsageError

DEPTHS = (1, 5, 10)
CHUNK = 1024
CLOSE = 1e-3
"""Cosines that differ by less are the same answer."""

token_level = False
needs_arrays = False


def predictions(outcome: Outcome, labels: Sequence[str]) -> list[dict[str, Any]]:
    """``embedding`` the vector of a single text; of several a list of theirs, and ``score`` the cosine of the first
    two. There are no labels."""
    rows: list[dict[str, Any]] = []
    for row in outcome.scores:
        vectors = np.atleast_2d(np.asarray(row))
        one = len(vectors) == 1
        score = None if one else float(vectors[0] @ vectors[1])
        rows.append(
            {"label": None, "score": score, "scores": {}, "embedding": (vectors[0] if one else vectors).tolist()}
        )
    return rows


def report(outcome: Outcome, labels: Sequence[str]) -> dict[str, Any]:
    """:func:`figures` with 95 % intervals: Wilson's for recalls, a seeded bootstrap over samples for ``mrr``, as
    :func:`zoo.metrics.full_regression_report` for correlations.

    Raises:
        UsageError: no samples, or single texts.
    """
    from zoo.metrics import full_regression_report
    from zoo.resampling import wilson

    vectors, keys = _vectors(outcome), _keys(outcome.items)
    n = len(vectors)
    scores = np.asarray(outcome.truth)
    if scores.dtype.kind == "f":
        full = full_regression_report(_cosines(vectors), scores)
        metrics = {name: full["metrics"][name] for name in ("spearman", "pearson")}
        return {
            "task": "embedding",
            "n": n,
            "metrics": metrics,
            "intervals": {k: full["intervals"][k] for k in metrics},
        }
    found = ranks(vectors, keys)
    intervals = {f"recall_at_{depth}": wilson(int((found <= depth).sum()), n) for depth in DEPTHS}
    return {
        "task": "embedding",
        "n": n,
        "metrics": _retrieval(found),
        "intervals": {**intervals, "mrr": _bootstrap(1 / found)},
    }


def agreement(one: Outcome, other: Outcome) -> float:
    """Share of samples for which both find the same positive first, or one as close; of single texts, which other text
    is nearest."""
    a, b = (_square(outcome) for outcome in (one, other))
    if len(a) < 2:
        return 1.0
    same = []
    for start in range(0, len(a), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(a)))
        mine, theirs = (_similar(square, rows) for square in (a, b))
        chosen = mine[np.arange(len(rows)), theirs.argmax(axis=1)]
        same.append(mine.max(axis=1) - chosen <= CLOSE)
    return float(np.concatenate(same).mean())


def score(outcome: Outcome, labels: Sequence[str]) -> tuple[str, float]:
    vectors, truth = _vectors(outcome), np.asarray(outcome.truth)
    name = "spearman" if truth.dtype.kind == "f" else "recall_at_1"
    return name, float(figures(vectors, _keys(outcome.items), truth)[name] or 0.0)


def match(truth: Entries, ids: Sequence[int], classes: int) -> Entries:
    return truth


def used(truth: Entries) -> set[int]:
    return set()


def figures(vectors: np.ndarray, keys: np.ndarray, truth: np.ndarray) -> dict[str, float | None]:
    """``recall_at_1``, ``recall_at_5``, ``recall_at_10`` and ``mrr`` (mean reciprocal rank) of finding each anchor's
    positive among all positives; where truth is floats ``spearman`` and ``pearson`` of cosines and scores, None where
    they cannot be told.

    Args:
        vectors: (n, K, D) unit vectors.
        keys: (n, K), equal where texts are.
        truth: (n,).
    """
    if truth.dtype.kind != "f":
        return dict(_retrieval(ranks(vectors, keys)))
    cosines = _cosines(vectors)
    return {"spearman": _correlation(_order(cosines), _order(truth)), "pearson": _correlation(cosines, truth)}


def ranks(vectors: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """(n,) rank, from 1, of each anchor's positive among all positives by cosine. Of equal cosines the own is last, so
    that vectors which are all the same find nothing. Candidates that are the same text as the anchor or its positive,
    and the positives of an equal anchor, are passed over."""
    anchors, positives = vectors[:, 0], vectors[:, 1]
    a, p = keys[:, 0], keys[:, 1]
    found = np.empty(len(vectors), np.int64)
    for start in range(0, len(vectors), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(vectors)))
        similar = anchors[rows] @ positives.T
        own = similar[np.arange(len(rows)), rows][:, None]
        passed = (p[None] == p[rows, None]) | (a[None] == a[rows, None]) | (p[None] == a[rows, None])
        found[rows] = 1 + ((similar >= own) & ~passed).sum(axis=1)
    return found


def _retrieval(found: np.ndarray) -> dict[str, float]:
    recalls = {f"recall_at_{depth}": float((found <= depth).mean()) for depth in DEPTHS}
    return {**recalls, "mrr": float((1 / found).mean())}


def _vectors(outcome: Outcome) -> np.ndarray:
    if not len(outcome):
        raise UsageError("There is nothing to measure: the split has no samples.", "Give a split with samples.")
    vectors = np.stack([np.asarray(row, np.float32) for row in outcome.scores])
    if vectors.ndim != 3 or vectors.shape[1] < 2:
        raise UsageError("Embeddings are measured on pairs of texts, and these are single.", "Give two texts a row.")
    return vectors


def _square(outcome: Outcome) -> tuple[np.ndarray, np.ndarray, bool]:
    """(queries (n, D), candidates (n, D), whether they are the same)."""
    vectors = [np.atleast_2d(np.asarray(row, np.float32)) for row in outcome.scores]
    single = not vectors or len(vectors[0]) < 2
    queries = np.stack([row[0] for row in vectors])
    return queries, queries if single else np.stack([row[1] for row in vectors]), single


def _similar(square: tuple[np.ndarray, np.ndarray, bool], rows: np.ndarray) -> np.ndarray:
    queries, candidates, single = square
    similar = queries[rows] @ candidates.T
    if single:
        similar[np.arange(len(rows)), rows] = -np.inf
    return similar


def _keys(items: Sequence[Any]) -> np.ndarray:
    ids: dict[str, int] = {}
    return np.array([[ids.setdefault(text, len(ids)) for text in item[:2]] for item in items])


def _cosines(vectors: np.ndarray) -> np.ndarray:
    return (vectors[:, 0].astype(np.float64) * vectors[:, 1]).sum(axis=-1)


def _order(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, equal values sharing their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[place]


def _correlation(x: np.ndarray, y: np.ndarray) -> float | None:
    x, y = x - x.mean(), y - y.mean()
    spread = float(np.sqrt((x**2).sum() * (y**2).sum()))
    return float((x * y).sum()) / spread if spread > 0 else None


def _bootstrap(values: np.ndarray) -> list[float]:
    """95 % interval of a mean."""
    random = np.random.default_rng(0)
    drawn = [values[random.integers(0, len(values), len(values))].mean() for _ in range(1000)]
    low, high = np.percentile(drawn, (2.5, 97.5))
    return [float(low), float(high)]
