"""How one sequence differs from another: the fewest insertions, deletions and substitutions between them (Levenshtein,
1966). Imports no torch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T", bound=Hashable)


def distance(given: Sequence[Hashable], wanted: Sequence[Hashable]) -> int:
    """The fewest edits from one to the other; of two strings in characters."""
    (last,) = deque(_rows(given, wanted), maxlen=1)
    return int(last[-1])


def changes(given: Sequence[T], wanted: Sequence[T]) -> list[tuple[T | None, T | None]]:
    """The edits of one shortest way, in order, each as (what was wanted, what was given): None where nothing was."""
    table = _table(given, wanted)
    found: list[tuple[T | None, T | None]] = []
    i, j = len(given), len(wanted)
    while i or j:
        if i and j and table[i, j] == table[i - 1, j - 1] + (given[i - 1] != wanted[j - 1]):
            i, j = i - 1, j - 1
            if given[i] != wanted[j]:
                found.append((wanted[j], given[i]))
        elif j and table[i, j] == table[i, j - 1] + 1:
            j -= 1
            found.append((wanted[j], None))
        else:
            i -= 1
            found.append((None, given[i]))
    return found[::-1]


def _table(given: Sequence[Hashable], wanted: Sequence[Hashable]) -> np.ndarray:
    """(len(given) + 1, len(wanted) + 1) edits between the beginnings of both."""
    return np.stack(list(_rows(given, wanted)))


def _rows(given: Sequence[Hashable], wanted: Sequence[Hashable]) -> Iterator[np.ndarray]:
    """The table's rows, one after another."""
    ids: dict[Hashable, int] = {}
    rows, columns = (np.array([ids.setdefault(one, len(ids)) for one in part], np.int64) for part in (given, wanted))
    steps = np.arange(len(columns) + 1)
    above = steps
    yield above
    for one in rows:
        row = above + 1
        row[1:] = np.minimum(row[1:], above[:-1] + (columns != one))
        # Insertions run along the row: the least of what stands left of a place, and one for each step from there.
        above = np.minimum.accumulate(row - steps) + steps
        yield above
