"""The rows of a report's table of classes, out of counts. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.resampling import interval, shares, wilson


def class_table(names: Sequence[str], sums: np.ndarray, drawn: np.ndarray) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each class with 95 % intervals: Wilson's, of F1 the bootstrap's.

    Args:
        sums: (C, 3) how often it was right, given and wanted.
        drawn: (R, C, 3) the same over samples drawn again.
    """
    right, given, wanted = sums.T
    f1, f1_drawn = (shares(2 * one[..., 0], one[..., 1] + one[..., 2]) for one in (sums, drawn))
    return [
        {
            "name": name,
            "support": int(wanted[i]),
            "predicted": int(given[i]),
            "precision": plain(shares(right[i], given[i])),
            "recall": plain(shares(right[i], wanted[i])),
            "f1": plain(f1[i]),
            "intervals": {
                "precision": wilson(right[i], given[i]),
                "recall": wilson(right[i], wanted[i]),
                "f1": interval(f1_drawn[:, i]),
            },
        }
        for i, name in enumerate(names)
    ]


def plain(value: Any) -> float | None:
    """A number as JSON knows it; None for what the data cannot decide."""
    return float(value) if np.isfinite(value) else None
