"""Texts that go on: scores are (n, 3) sums over a sample's tokens: negative log likelihood in nats, tokens, tokens
guessed right. There is no truth but the texts themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.kinds import Entries, Outcome
from zoo_registry.errors import UsageError

LARGEST = 1e4
"""Perplexities above it say no more than that nothing is learnt, and exponentials overflow."""
RESAMPLES = 1000
CLOSE = 0.01
"""Share by which the perplexities of a text may differ and still be the same."""

LOSS, COUNT, RIGHT = range(3)

token_level = False
needs_arrays = False


def predictions(outcome: Outcome, labels: Sequence[str]) -> list[dict[str, Any]]:
    """``score`` the perplexity of each text; what follows it takes a decoder (:mod:`zoo.decoding`)."""
    return [{"label": None, "score": float(value), "scores": {}} for value in _each(outcome)]


def report(outcome: Outcome, labels: Sequence[str]) -> dict[str, Any]:
    """``perplexity`` (exp of the mean negative log likelihood of a token, at most 10,000) and ``accuracy`` of the next
    token, with the 95 % intervals of a seeded bootstrap over samples; ``tokens`` how many count.

    Raises:
        UsageError: no samples, or none with a token to guess.
    """
    sums = _sums(outcome)
    if not len(sums) or not sums[:, COUNT].sum():
        raise UsageError("There is nothing to measure: no text has a token to guess.", "Give a split with texts.")
    random = np.random.default_rng(0)
    drawn = np.array([sums[random.integers(0, len(sums), len(sums))].sum(axis=0) for _ in range(RESAMPLES)])
    drawn = drawn[drawn[:, COUNT] > 0]
    total = sums.sum(axis=0)
    return {
        "task": "generation",
        "n": len(sums),
        "tokens": int(total[COUNT]),
        "metrics": {"perplexity": float(_perplexity(total)), "accuracy": float(total[RIGHT] / total[COUNT])},
        "intervals": {
            "perplexity": _middle(_perplexity(drawn)),
            "accuracy": _middle(drawn[:, RIGHT] / drawn[:, COUNT]),
        },
    }


def agreement(one: Outcome, other: Outcome) -> float:
    """Share of texts whose perplexities differ by no more than a hundredth."""
    a, b = _each(one), _each(other)
    return float((np.abs(a - b) <= CLOSE * a).mean())


def score(outcome: Outcome, labels: Sequence[str]) -> tuple[str, float]:
    return "perplexity", float(_perplexity(_sums(outcome).sum(axis=0)))


def match(truth: Entries, ids: Sequence[int], classes: int) -> Entries:
    return truth


def used(truth: Entries) -> set[int]:
    return set()


def _sums(outcome: Outcome) -> np.ndarray:
    return np.asarray([np.asarray(row) for row in outcome.scores], np.float64).reshape(-1, 3)


def _each(outcome: Outcome) -> np.ndarray:
    return _perplexity(_sums(outcome))


def _perplexity(sums: np.ndarray) -> np.ndarray:
    mean = sums[..., LOSS] / np.maximum(sums[..., COUNT], 1)
    return np.exp(np.minimum(mean, math.log(LARGEST)))


def _middle(values: np.ndarray) -> list[float]:
    low, high = np.percentile(values, (2.5, 97.5))
    return [float(low), float(high)]
