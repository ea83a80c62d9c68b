"""What a careful person checks before training: copies across splits, counts, imbalance."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from zoo.data.dataset import Table
from zoo.data.items import name_of

_IMBALANCE = 10


def duplicate_notes(splits: Mapping[str, Table], modality: str) -> list[str]:
    """One note per pair of splits that share items, with the first three pairs; equal means equal bytes."""
    groups = _equal_across(splits, modality)
    notes = []
    for first, second in [("train", "val"), ("train", "test"), ("val", "test")]:
        pairs = [(group[first], group[second]) for group in groups if first in group and second in group]
        if pairs:
            shown = "; ".join(f"{a} = {b}" for a, b in pairs[:3]) + ("; ..." if len(pairs) > 3 else "")
            count = f"{len(pairs)} item is" if len(pairs) == 1 else f"{len(pairs)} items are"
            notes.append(f"{count} in both {first} and {second}: {shown}")
    return notes


def balance_notes(labels: Sequence[Any], names: Sequence[str], task: str) -> list[str]:
    """A note where the largest class of the training split is ten or more times the smallest."""
    if task != "classification":
        return []
    counts = Counter(labels)
    (large, most), (small, fewest) = counts.most_common()[0], counts.most_common()[-1]
    if most < _IMBALANCE * fewest:
        return []
    return [f"imbalanced: {names[large]} has {most} training samples, {names[small]} has {fewest}"]


def count_text(labels: Sequence[Any], names: Sequence[str], task: str) -> str:
    """``"900 (cat 450, dog 450)"``; the classes only where they are few enough to read."""
    if task == "regression" or len(names) > 12:
        return str(len(labels))
    counts = Counter(label for ids in labels for label in ids) if task == "multi-label" else Counter(labels)
    return f"{len(labels)} ({', '.join(f'{name} {counts[number]}' for number, name in enumerate(names))})"


def _equal_across(splits: Mapping[str, Table], modality: str) -> list[dict[str, str]]:
    """For each content found in several splits: split -> the first item there."""
    sizes: dict[Hashable, list[tuple[str, int, Any]]] = defaultdict(list)
    for split, table in splits.items():
        for row, item in enumerate(table.columns["input"]):
            if (size := _size(item, modality)) is not None:
                sizes[size].append((split, row, item))
    found: dict[Hashable, dict[str, str]] = defaultdict(dict)
    for size, members in sizes.items():
        # Only items of equal size in different splits can be equal, so few files are ever read.
        if len({split for split, _, _ in members}) > 1:
            for split, row, item in members:
                if (content := _content(item, modality)) is not None:
                    found[size, content].setdefault(split, _shown(item, row, modality))
    return [group for group in found.values() if len(group) > 1]


def _size(item: Any, modality: str) -> Hashable | None:
    if modality == "text" or isinstance(item, bytes):
        return len(item)
    try:
        return os.path.getsize(item)
    except OSError:
        return None


def _content(item: Any, modality: str) -> Hashable | None:
    if modality == "text":
        return str(item)
    if isinstance(item, bytes):
        return hashlib.blake2b(item).digest()
    try:
        with open(item, "rb") as file:
            return hashlib.file_digest(file, "blake2b").digest()
    except OSError:
        return None


def _shown(item: Any, row: int, modality: str) -> str:
    if modality == "text":
        return repr(item if len(item) <= 40 else item[:37] + "...")
    return name_of(item, row, modality)
