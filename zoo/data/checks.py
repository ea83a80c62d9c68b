"""What a careful person checks before training: copies across splits, counts, imbalance."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from zoo.data.dataset import Table
from zoo.data.items import Member, name_of, path_of, shown, stretch_of, texts_of
from zoo.data.tags import OUTSIDE, entity_type, is_bio

_IMBALANCE = 10
_GLIMPSE = 256

_UNITS = {
    "token-classification": " sentences",
    "embedding": " pairs",
    "generation": " texts",
    "transcription": " transcripts",
    "frame-classification": " recordings",
}
"""What the samples of a task are, where they are no more than samples."""

_Member = tuple[str, int, Any]
"""(split, row, item)."""


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
    """A note where the largest class (type of entity) of the training split is ten or more times the smallest."""
    if task not in ("classification", "token-classification"):
        return []
    counts = class_counts(labels, names, task)
    present = Counter({name: count for name, count in counts.items() if count})
    if len(present) < 2:
        return []
    (large, most), (small, fewest) = present.most_common()[0], present.most_common()[-1]
    if most < _IMBALANCE * fewest:
        return []
    unit = "training samples" if task == "classification" else "in training"
    return [f"imbalanced: {large} has {most} {unit}, {small} has {fewest}"]


def class_counts(labels: Sequence[Any], names: Sequence[str], task: str) -> dict[str, int]:
    """How often each class occurs; for tags in BIO notation each type of entity, for frames each event; empty where
    labels are no classes."""
    if task == "frame-classification":
        events = Counter(event for row in labels for _, _, event in row)
        return {name: events[number] for number, name in enumerate(names) if number}
    if task not in ("classification", "multi-label", "token-classification", "speaker-verification"):
        return {}
    counts = (
        Counter(labels)
        if task in ("classification", "speaker-verification")
        else Counter(label for ids in labels for label in ids)
    )
    if task != "token-classification" or not is_bio(names):
        return {name: counts[number] for number, name in enumerate(names)}
    # Every entity has exactly one B.
    begins = {entity_type(name): counts[number] for number, name in enumerate(names) if name.startswith("B-")}
    return {entity_type(name): begins.get(entity_type(name), 0) for name in names if name != OUTSIDE}


def count_text(labels: Sequence[Any], names: Sequence[str], task: str) -> str:
    """``"900 (cat 450, dog 450)"``; the classes only where they are few enough to read."""
    if task == "question-answering":
        empty = sum(not answers for answers in labels)
        return f"{len(labels)} questions" + (f" ({empty} without an answer)" if empty else "")
    if task == "speaker-verification":
        return f"{len(labels)} clips of {len(set(labels))} speakers"
    unit = _UNITS.get(task, "")
    counts = class_counts(labels, names, task)
    if not counts or len(counts) > 12:
        return f"{len(labels)}{unit}"
    return f"{len(labels)}{unit} ({', '.join(f'{name} {count}' for name, count in counts.items())})"


def _equal_across(splits: Mapping[str, Table], modality: str) -> list[dict[str, str]]:
    """For each content found in several splits: split -> the first item there."""
    members = [(split, row, item) for split, table in splits.items() for row, item in enumerate(table.columns["input"])]
    found: dict[Hashable, dict[str, str]] = defaultdict(dict)
    hashes: dict[str, bytes | None] = {}
    # Only items of equal size can be equal, and where all have one size, as clips of a second do, a glimpse tells most
    # of them apart: few files are ever read.
    for alike in _in_several(members, lambda item: _size(item, modality)):
        for likely in _in_several(alike, lambda item: _glimpse(item, modality)):
            for split, row, item in likely:
                if (content := _content(item, modality, hashes)) is not None:
                    found[stretch_of(item), content].setdefault(split, _shown(item, row, modality))
    return [group for group in found.values() if len(group) > 1]


def _in_several(members: Sequence[_Member], key: Callable[[Any], Hashable | None]) -> list[list[_Member]]:
    """The members with equal keys, where they stand in more than one split."""
    groups: dict[Hashable, list[_Member]] = defaultdict(list)
    for member in members:
        if (found := key(member[2])) is not None:
            groups[found].append(member)
    return [group for group in groups.values() if len({split for split, _, _ in group}) > 1]


def _size(item: Any, modality: str) -> Hashable | None:
    if modality == "text":
        return sum(map(len, texts_of(item)))
    if isinstance(item, bytes):
        return len(item)
    if isinstance(item, Member):
        return item.size, (None, None)
    try:
        return None if (path := path_of(item)) is None else (os.path.getsize(path), stretch_of(item))
    except (OSError, ValueError):
        return None


def _glimpse(item: Any, modality: str) -> Hashable | None:
    """A few bytes from the middle of a file; of anything else nothing, which tells nothing apart."""
    if modality == "text" or isinstance(item, bytes):
        return b""
    path = path_of(item) or ""
    try:
        if isinstance(item, Member):
            return item.read(item.size // 2, min(_GLIMPSE, item.size - item.size // 2))
        with open(path, "rb") as file:
            file.seek(os.path.getsize(path) // 2)
            return file.read(_GLIMPSE)
    except OSError:
        return None


def _content(item: Any, modality: str, hashes: dict[str, bytes | None]) -> Hashable | None:
    if modality == "text":
        return texts_of(item)
    if isinstance(item, bytes):
        return hashlib.blake2b(item).digest()
    if isinstance(item, Member):
        return _hash_of_member(item)
    path = path_of(item) or ""
    if path not in hashes:  # many stretches may be of one long recording
        hashes[path] = _hash_of_file(path)
    return hashes[path]


def _hash_of_file(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "blake2b").digest()
    except OSError:
        return None


def _hash_of_member(item: Member) -> bytes | None:
    try:
        return hashlib.blake2b(item.read()).digest()
    except OSError:
        return None


def _shown(item: Any, row: int, modality: str) -> str:
    return shown(item) if modality == "text" else name_of(item, row, modality)
