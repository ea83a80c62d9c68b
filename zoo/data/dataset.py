"""A data set as plain columns: what sources produce and everything after them consumes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Table:
    """One split. ``columns["input"]`` holds raw items for a pipeline's ``decode``: paths or bytes for images; paths or
    dict (``path``, ``start``, ``end``: seconds of a stretch) for sounds; for texts str, tuple[str, ...] (texts that
    belong together), list[str] (the words of a sentence) or dict (``id``, ``question``, ``context``); for pairs of two
    modalities tuples of a raw item of each. Any file may also be a :class:`zoo.data.items.Member` of an archive.
    ``columns["label"]`` holds class ids (of classes, or of speakers), lists of class ids (multi-label: a sample's
    classes; token-classification: one a word), floats (regression, similarity), lists of ``{"text", "start"}`` (answers
    in the context; none: unanswerable), str (transcripts), lists of (start, end, class id) (events of a recording in
    seconds, in the order of their starts) or zeros (tasks without labels). All the same length."""

    columns: dict[str, list[Any]]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))

    def take(self, rows: Iterable[int]) -> Table:
        """The rows in the order given."""
        rows = list(rows)
        return Table({name: [values[i] for i in rows] for name, values in self.columns.items()})


@dataclass(frozen=True)
class DataSet:
    """A named data set, split and labelled.

    Attributes:
        name: short name for titles and folder names.
        origin: what was taken, for people: ``"folder data/pets"``, ``"hub microsoft/cats_vs_dogs"``,
            ``"built-in sample of cats_dogs"``.
        modality: as in InputSpec.
        task: one of :data:`zoo.data.labels.TASKS`.
        splits: ``train`` and ``val`` always, ``test`` where the source has one.
        labels: class names in id order; for transcripts the units that spell them (:mod:`zoo.units`), for events
            ``"none"`` first, for speakers those of the training split first; empty where labels are no classes.
        fingerprint: sha256 over inputs (names, sizes, times) and labels: equal data, equal fingerprint.
        notes: what a careful person would want to know, in order: guesses made, splits cut, duplicates, imbalance.
        sample: True for a built-in offline sample standing in for the real data.
        path: absolute path of local files that were named or found; empty for the hub, the cache and samples, which
            their name finds again.
    """

    name: str
    origin: str
    modality: str
    task: str
    splits: dict[str, Table]
    labels: tuple[str, ...]
    fingerprint: str
    notes: tuple[str, ...] = field(default=())
    sample: bool = False
    path: str = ""
