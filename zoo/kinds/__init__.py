"""What is done with a trained model's outputs, one module a task: predictions for people, reports, comparisons.

A kind is a module with the functions of :class:`Kind`. None imports torch when it is imported: an export predicts with
numpy and onnxruntime alone.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np

from zoo_registry.errors import UsageError

KINDS = {
    "classification": "zoo.kinds.classification",
    "multi-label": "zoo.kinds.multilabel",
    "regression": "zoo.kinds.regression",
    "token-classification": "zoo.kinds.tokens",
    "question-answering": "zoo.kinds.spans",
    "embedding": "zoo.kinds.embedding",
    "generation": "zoo.kinds.generation",
    "transcription": "zoo.kinds.transcription",
    "frame-classification": "zoo.kinds.frames",
    "speaker-verification": "zoo.kinds.speakers",
}
"""Module of each task."""


Entries = Sequence[Any] | np.ndarray
"""One entry a sample, along the first dimension."""


@dataclass(frozen=True)
class Outcome:
    """What a model made of n samples. Sequences share their order.

    Attributes:
        scores: (n, ...) array; for token-level kinds one array (length, ...) a sample.
        items: raw inputs of the samples, as the pipeline decodes them.
        arrays: the decoded samples, where a kind needs them to read its scores; else empty.
        owner: (n,) position of the user's input that each sample comes from (several windows of one long text).
        truth: labels, one a sample, or empty.
        starts: (n,) seconds into the user's input at which each sample begins; empty: all at its beginning.
        frame_seconds: from one frame to the next, where scores have one row a frame of sound.
        threshold: from which score on the model says yes, where it does.
    """

    scores: Entries
    items: Sequence[Any] = ()
    arrays: Sequence[np.ndarray] = ()
    owner: Entries = ()
    truth: Entries = ()
    starts: Entries = ()
    frame_seconds: float = 0.0
    threshold: float | None = None

    def __len__(self) -> int:
        return len(self.scores)


def model_facts(meta: Mapping[str, Any], hop: int) -> dict[str, Any]:
    """The fields of an :class:`Outcome` that follow from the model.

    Args:
        meta: its ``model.json``.
        hop: samples of sound from one of its frames to the next; 0: it has one answer a recording.
    """
    return {
        "frame_seconds": hop / meta["preprocessing"]["rate"] if hop else 0.0,
        "threshold": (meta.get("metrics") or {}).get("threshold"),
    }


class Kind(Protocol):
    """The functions of a kind's module.

    Attributes:
        token_level: the model's outputs have one row a token: (B, N, ...).
        needs_arrays: reading the scores takes the decoded samples.
    """

    token_level: bool
    needs_arrays: bool

    def predictions(self, outcome: Outcome, labels: Sequence[str]) -> list[dict[str, Any]]:
        """In user terms, one for each of the user's inputs, in their order: ``{"label", "score", "scores", ...}``."""
        ...

    def report(self, outcome: Outcome, labels: Sequence[str]) -> dict[str, Any]:
        """``{"task", "n", "metrics", "intervals", ...}`` of JSON values; ``confusion`` and ``classes`` where they make
        sense. Raises UsageError where there are no samples."""
        ...

    def agreement(self, one: Outcome, other: Outcome) -> float:
        """Share of samples that two models answered alike."""
        ...

    def score(self, outcome: Outcome, labels: Sequence[str]) -> tuple[str, float]:
        """One figure against the truth: (its name, its value)."""
        ...

    def match(self, truth: Entries, ids: Sequence[int], classes: int) -> Entries:
        """A data set's labels in a model's terms: ``ids[i]`` is the model's id of the data set's class ``i``, or -1
        where it is unknown (and not used)."""
        ...

    def used(self, truth: Entries) -> set[int]:
        """The data set's class ids that occur in its labels."""
        ...


def kind_of(task: str) -> Kind:
    """The module of a task.

    Raises:
        UsageError: no such task.
    """
    if task not in KINDS:
        raise UsageError(f"There is no task {task!r}.", f"The tasks are {', '.join(KINDS)}.")
    return cast(Kind, importlib.import_module(KINDS[task]))
