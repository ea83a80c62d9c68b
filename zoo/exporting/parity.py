"""What an export is worth: the same samples through torch and through the exported file, compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.targets import Model, decode_all


@dataclass(frozen=True)
class Answers:
    """Outputs for some samples.

    Attributes:
        logits, scores: one row a sample.
        rows: positions of the samples that could be read.
    """

    logits: np.ndarray
    scores: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True)
class Parity:
    """Torch against the export on the same samples.

    Attributes:
        samples: how many.
        max_logit_difference: largest absolute difference of any logit.
        agreement: share of samples with the same answer (see :func:`agreement`).
        score_name: ``"accuracy"``, ``"exact_match"`` (multi-label) or ``"mae"``.
        score_torch, score_onnx: that score on either side.
    """

    samples: int
    max_logit_difference: float
    agreement: float
    score_name: str
    score_torch: float
    score_onnx: float


def answers(model: Model, items: Sequence[Any], *, batch_size: int = 16) -> Answers:
    """Decode and run raw items, skipping unreadable ones."""
    logits, scores, rows = [], [], []
    for good, _ in decode_all(model, items, batch_size):
        if good:
            one = model.run([array for _, array in good])
            logits.append(one[0])
            scores.append(one[1])
            rows += [position for position, _ in good]
    return Answers(np.concatenate(logits), np.concatenate(scores), np.array(rows))


def decisions(scores: np.ndarray, task: str) -> np.ndarray:
    """Class ids (n,), multi-label booleans (n, C), or values (n,)."""
    if task == "classification":
        return scores.argmax(1)
    return scores >= 0.5 if task == "multi-label" else scores.reshape(len(scores))


def agreement(one: np.ndarray, other: np.ndarray, task: str) -> float:
    """Share of samples answered alike: the same class; the same set of labels; values closer than a hundredth of
    their spread."""
    a, b = decisions(one, task), decisions(other, task)
    if task == "regression":
        return float((np.abs(a - b) <= 0.01 * a.std() + 1e-6).mean())
    same = a == b
    return float((same if same.ndim == 1 else same.all(1)).mean())


def score(scores: np.ndarray, truth: np.ndarray, task: str) -> tuple[str, float]:
    """One figure against the true labels."""
    found = decisions(scores, task)
    if task == "classification":
        return "accuracy", float((found == truth).mean())
    if task == "multi-label":
        return "exact_match", float((found == (truth >= 0.5)).all(1).mean())
    return "mae", float(np.abs(found - truth).mean())


def compare(torch_side: Answers, onnx_side: Answers, truth: np.ndarray, task: str) -> Parity:
    """Both sides answered the same items; ``truth`` has one label per item."""
    name, left = score(torch_side.scores, truth[torch_side.rows], task)
    _, right = score(onnx_side.scores, truth[onnx_side.rows], task)
    return Parity(
        samples=len(torch_side.rows),
        max_logit_difference=float(np.abs(torch_side.logits - onnx_side.logits).max()),
        agreement=agreement(torch_side.scores, onnx_side.scores, task),
        score_name=name,
        score_torch=left,
        score_onnx=right,
    )


def latencies(calls: dict[str, Callable[[], object]], *, seconds: float, most: int = 100) -> dict[str, float]:
    """Median milliseconds of each call.

    Rounds are interleaved, so that a slow moment of the machine hits all alike. Each turn begins with a pause and an
    untimed call: worker threads go on spinning after a call, and those of one library would slow the next one down.
    """
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    end, done = time.perf_counter() + seconds, 0
    while done < most and (done < 6 or time.perf_counter() < end):
        for name, call in calls.items():
            time.sleep(0.02)
            call()
            for _ in range(3):
                start = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - start)
        done += 3
    return {name: 1000 * float(np.median(values)) for name, values in times.items()}


def pick(total: int, limit: int, seed: int = 0) -> np.ndarray:
    """At most ``limit`` of ``total`` positions, in order, drawn evenly by ``seed``."""
    if total <= limit:
        return np.arange(total)
    return np.sort(np.random.default_rng(seed).choice(total, limit, replace=False))
