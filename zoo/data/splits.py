"""Cutting a validation split: seeded, stratified, and never at a class's last training sample."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from zoo_registry.errors import DataError, UsageError

_SEVERAL = ("multi-label", "token-classification")
"""Tasks whose samples have several classes each."""


def cut_validation(
    labels: Sequence[Any], task: str, seed: int, fraction: float, groups: Sequence[Hashable] | None = None
) -> tuple[list[int], list[int]]:
    """Rows of (train, val), each ascending: every stratum gives ``fraction`` of its rows, to the nearest whole number.

    Strata are classes; for multi-label and token-classification each sample's rarest class; for regression ten
    quantiles; for other tasks all rows are one.

    Args:
        labels: encoded, as in a :class:`zoo.data.dataset.Table`.
        groups: rows of the same group stay together (questions on one context), instead of strata.

    Raises:
        UsageError: the fraction is not between 0 and 1.
        DataError: there are too few samples to cut from.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"The validation fraction is {fraction}.", "Give a number between 0 and 1, such as 0.2.")
    if groups is not None:
        return _cut_groups(groups, seed, fraction)
    strata: dict[Hashable, list[int]] = defaultdict(list)
    for row, stratum in enumerate(_strata(labels, task)):
        strata[stratum].append(row)
    shuffle = _generator(seed)
    val: set[int] = set()
    for stratum in sorted(strata, key=str):
        rows = strata[stratum]
        count = min(len(rows) - 1, round(fraction * len(rows)))
        val.update(int(row) for row in shuffle.permutation(rows)[:count])
    if task in _SEVERAL:
        val -= _last_of_their_class(labels, val)
    if not val:
        largest = max(strata.values(), key=len)
        if len(largest) < 2:
            raise _too_few()
        val.add(largest[-1])
    return [row for row in range(len(labels)) if row not in val], sorted(val)


def _cut_groups(groups: Sequence[Hashable], seed: int, fraction: float) -> tuple[list[int], list[int]]:
    """Whole groups until ``fraction`` of the rows is reached; at least one is left on either side."""
    rows: dict[Hashable, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        rows[group].append(row)
    members = list(rows.values())
    if len(members) < 2:
        raise _too_few()
    val: list[int] = []
    for number in _generator(seed).permutation(len(members))[:-1]:
        if val and len(val) + len(members[number]) / 2 > fraction * len(groups):
            break
        val += members[number]
    kept = set(val)
    return [row for row in range(len(groups)) if row not in kept], sorted(val)


def _generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed & (2**64 - 1)))


def _too_few() -> DataError:
    return DataError(
        "There are too few samples to cut a validation split from.", "Add samples, or give a validation split."
    )


def _strata(labels: Sequence[Any], task: str) -> list[Hashable]:
    if task == "regression":
        edges = np.quantile(np.array(labels), np.linspace(0, 1, 11)[1:-1])
        return [int(bin_) for bin_ in np.searchsorted(edges, np.array(labels))]
    if task in _SEVERAL:
        counts = Counter(label for ids in labels for label in ids)
        return [min(ids, key=lambda label: (counts[label], label), default=-1) for ids in labels]
    return list(labels) if task == "classification" else [0] * len(labels)


def _last_of_their_class(labels: Sequence[Any], val: set[int]) -> set[int]:
    """Rows to give back, so that no class stands in the validation split alone."""
    kept = {label for row, ids in enumerate(labels) if row not in val for label in ids}
    back = set()
    for row in sorted(val):
        if missing := set(labels[row]) - kept:
            kept |= missing
            back.add(row)
    return back
