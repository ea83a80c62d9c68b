"""The figures of objectives that guess tokens."""

from __future__ import annotations

import math

from zoo.objectives import COUNT, LOSS, RIGHT, Totals

LARGEST = 1e4
"""Perplexities above it say no more than that nothing is learnt, and exponentials overflow."""


def perplexity(loss: float, count: float) -> float:
    """Exp of the mean loss, at most 10,000."""
    return math.exp(min(loss / max(count, 1.0), math.log(LARGEST)))


class TokenMetrics(Totals):
    """``perplexity`` (capped) and the share of targets guessed right, from rows of :func:`zoo.objectives.token_scores`.

    Args:
        accuracy: what that share is called.
    """

    def __init__(self, accuracy: str = "accuracy") -> None:
        super().__init__(3)
        self.accuracy = accuracy

    def figures(self, sums: list[float]) -> dict[str, float]:
        return {
            "perplexity": perplexity(sums[LOSS], sums[COUNT]),
            self.accuracy: sums[RIGHT] / max(sums[COUNT], 1.0),
        }
