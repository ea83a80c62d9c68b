"""Reading what a network trained with connectionist temporal classification says (Graves et al., 2006): a class for
each frame, of which runs are one unit, and blanks none. Training, evaluation and serving share it. Imports no torch.
"""

from __future__ import annotations

import numpy as np

BLANK = 0
"""The class of frames that say nothing; unit ``i`` of the labels is class ``i + 1``."""


def collapse(path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The units that a path stands for: runs of a class are one unit, blanks between them divide.

    Args:
        path: (N,) class of each frame; what is below 0 counts as blank.

    Returns:
        (units (M,) ids, places (M,) index of the first frame of each).
    """
    path = np.maximum(np.asarray(path, np.int64), BLANK)
    places = np.flatnonzero((np.diff(path, prepend=BLANK) != 0) & (path != BLANK))
    return path[places] - 1, places


def greedy(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest class of each frame, collapsed.

    Args:
        scores: (N, 1 + C) probabilities.

    Returns:
        (units (M,) ids, certainty (M,): the highest probability of each over its frames).
    """
    path = scores.argmax(axis=-1)
    units, places = collapse(path)
    if not len(units):
        return units, np.empty(0)
    # A unit lasts until the path changes, which may be long before the next unit begins.
    changes = np.flatnonzero(np.diff(path, prepend=-1) != 0)
    highest = np.maximum.reduceat(scores.max(axis=-1), changes)
    return units, highest[np.searchsorted(changes, places)]
