"""How well scores tell same from different: the figures of speaker verification. Imports no torch.

A trial is a pair of recordings; its score is the cosine of their vectors, and a threshold accepts those that score as
much or more. n recordings, S trials of one speaker, U of two.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator

import numpy as np

from zoo_registry.errors import DataError

MOST = 10_000
"""Recordings of which all pairs are trials; of more, so many are drawn."""
MOST_DRAWN = 1000
"""Recordings that an interval is drawn from."""
DRAWS = 200
CHUNK = 1024
PRIOR = 0.01
"""Share of trials of one speaker that the cost of detection supposes."""


def trials(vectors: np.ndarray, speakers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of recordings: the scores of those of one speaker (S,), and of two (U,), ascending, float32.

    Args:
        vectors: (n, D) unit vectors.
        speakers: (n,) ids.

    Raises:
        DataError: no two recordings are of one speaker, or all are.
    """
    same, other = [], []
    for scores, pairs in _pairs(*_thinned(vectors, speakers, MOST)):
        alike = pairs[:, 0] == pairs[:, 1]
        same.append(scores[alike])
        other.append(scores[~alike])
    found = [np.sort(np.concatenate([np.empty(0, np.float32), *part])) for part in (same, other)]
    if not len(found[0]) or not len(found[1]):
        what = "different speakers" if len(found[0]) else "one speaker"
        raise DataError(
            f"No two of the {len(vectors):,} recordings are of {what}, so nothing can be verified.",
            "Give two recordings or more of each of two speakers or more.",
        )
    return found[0], found[1]


def equal_error(
    same: np.ndarray, other: np.ndarray, same_weights: np.ndarray | None = None, other_weights: np.ndarray | None = None
) -> tuple[float, float]:
    """The rate at which as large a share of trials of one speaker is refused as is accepted of others, and the
    threshold at which the two are most alike. From one score to the next both shares change along a line, also where
    trials tie.

    Args:
        same, other: scores, ascending.
        same_weights, other_weights: how often each trial counts; None: once.
    """
    refused, below = _cumulated(same, same_weights), _cumulated(other, other_weights)

    def rates(threshold: np.floating) -> tuple[float, float]:
        """(share of same refused, share of others accepted)."""
        return float(refused[np.searchsorted(same, threshold)]), 1 - float(below[np.searchsorted(other, threshold)])

    crossing = min(_crossing(same, rates), _crossing(other, rates))
    before = max(part[place - 1] for part in (same, other) if (place := np.searchsorted(part, crossing)))
    (miss, alarm), (later_miss, later_alarm) = rates(before), rates(crossing)
    way = (alarm - miss) / (alarm - miss + later_miss - later_alarm)
    threshold = before if alarm - miss <= later_miss - later_alarm else (before + crossing) / 2
    return miss + way * (later_miss - miss), float(threshold)


def least_cost(same: np.ndarray, other: np.ndarray, prior: float = PRIOR) -> float:
    """The least detection cost over all thresholds, with misses and false alarms equally dear, divided by the cost of
    deciding without listening (NIST Speaker Recognition Evaluation, 2016).

    Args:
        same, other: scores, ascending.
        prior: share of trials of one speaker, supposed.
    """
    # The best threshold is the score of a trial of one speaker: going up to the next one misses no more, and accepts
    # fewer of others. Or it is above all, and everything is refused.
    misses = np.searchsorted(same, same) / len(same)
    alarms = 1 - np.searchsorted(other, same) / len(other)
    cost = prior * misses + (1 - prior) * alarms
    return float(min(cost.min(), prior) / min(prior, 1 - prior))


def error_interval(vectors: np.ndarray, speakers: np.ndarray) -> list[float] | None:
    """95 % interval of the equal error rate, by a seeded bootstrap over speakers: the trials of one speaker hang
    together. Of many recordings a part is enough. None where too few speakers are left to draw from.

    Args:
        vectors, speakers: as of :func:`trials`.
    """
    vectors, speakers = _thinned(vectors, speakers, MOST_DRAWN)
    names, ids = np.unique(speakers, return_inverse=True)
    scores, pairs = (np.concatenate(column) for column in zip(*_pairs(vectors, ids), strict=True))
    order = np.argsort(scores, kind="stable")
    scores, (one, two) = scores[order], pairs[order].T
    alike = one == two
    random = np.random.default_rng(0)
    rates = []
    for _ in range(DRAWS):
        times = np.bincount(random.integers(0, len(names), len(names)), minlength=len(names)).astype(np.float64)
        weights = np.where(alike, times[one], times[one] * times[two])
        if weights[alike].any() and weights[~alike].any():
            rates.append(equal_error(scores[alike], scores[~alike], weights[alike], weights[~alike])[0])
    if len(rates) < DRAWS // 2:
        return None
    low, high = np.percentile(rates, (2.5, 97.5))
    return [float(low), float(high)]


def _pairs(vectors: np.ndarray, speakers: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(scores (P,), speakers (P, 2)) of all pairs, a part at a time."""
    vectors = np.asarray(vectors, np.float32)
    for start in range(0, len(vectors), CHUNK):
        some = vectors[start : start + CHUNK]
        rows, columns = np.nonzero(np.tri(len(some), len(vectors), start - 1, dtype=bool))
        yield (some @ vectors.T)[rows, columns], np.stack([speakers[start + rows], speakers[columns]], axis=1)


def _thinned(vectors: np.ndarray, speakers: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    if len(vectors) <= most:
        return vectors, speakers
    # Drawn, because steps of one width may meet one speaker again and again.
    rows = np.sort(np.random.default_rng(0).choice(len(vectors), most, replace=False))
    return vectors[rows], speakers[rows]


def _crossing(scores: np.ndarray, rates: Callable[[np.floating], tuple[float, float]]) -> np.floating:
    """The first of the scores at which no fewer of the same are refused than others accepted; infinity without any."""

    def crossed(place: int) -> bool:
        miss, alarm = rates(scores[place])
        return miss >= alarm

    place = bisect_left(range(len(scores)), True, key=crossed)
    return scores[place] if place < len(scores) else scores.dtype.type(np.inf)


def _cumulated(scores: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """(n + 1,) share of the weight that the first i have."""
    sums = np.concatenate([[0.0], np.cumsum(np.ones(len(scores)) if weights is None else weights)])
    return sums / sums[-1]
