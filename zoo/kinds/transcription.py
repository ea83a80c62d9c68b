"""What was said: scores are (N, 1 + C) probabilities of each frame's unit (:mod:`zoo.ctc`), or (N,) the likeliest class
of each, or the text itself where something else has read them (:mod:`zoo.beam`). Truth is texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.ctc import collapse, greedy
from zoo.edits import changes, distance
from zoo.kinds import Entries, Outcome
from zoo.units import read
from zoo_registry.errors import UsageError

MOST_CONFUSED = 20

token_level = True
needs_arrays = False


def predictions(outcome: Outcome, labels: Sequence[str]) -> list[dict[str, Any]]:
    """``label`` the text, ``score`` the mean certainty of its units, None where it has none or they are not known;
    ``scores`` empty."""
    rows: list[dict[str, Any]] = []
    for row in outcome.scores:
        score = None
        if not isinstance(row, str) and np.ndim(row) > 1:
            _, certainty = greedy(np.asarray(row))
            score = float(certainty.mean()) if len(certainty) else None
        rows.append({"label": _text(row, labels), "score": score, "scores": {}})
    return rows


def report(outcome: Outcome, labels: Sequence[str]) -> dict[str, Any]:
    """Word and character error rate (edits over true words or characters; Morris et al., "From WER and RIL to MER and
    WIL", 2004) and the share of texts without a fault, with the 95 % intervals of a seeded bootstrap over recordings.

    Returns:
        ``{"task", "n", "words", "metrics": {"wer", "cer", "exact_match"}, "intervals", "confused"}``; ``confused`` the
        most frequent faults by word, ``{"true", "predicted", "count", "share"}``: None for ``true`` where a word was
        added, for ``predicted`` where it is missing; ``share`` of all places with that word, None for added ones.

    Raises:
        UsageError: no samples.
    """
    from zoo.resampling import interval, resampled_sums, shares

    if not len(outcome):
        raise UsageError("There is nothing to measure: the split has no samples.", "Give a split with samples.")
    given, wanted = texts(outcome, labels), [str(text) for text in outcome.truth]
    counts = np.array([faults(one, other) for one, other in zip(given, wanted, strict=True)])
    counts = np.concatenate([counts, np.ones((len(counts), 1), counts.dtype)], axis=1)

    def figures(sums: np.ndarray) -> dict[str, np.ndarray]:
        """Of (..., 6) sums."""
        return {
            "wer": shares(sums[..., 0], sums[..., 1]),
            "cer": shares(sums[..., 2], sums[..., 3]),
            "exact_match": shares(sums[..., 4], sums[..., 5]),
        }

    sums = counts.sum(axis=0).astype(np.float64)
    drawn = figures(resampled_sums(counts))
    return {
        "task": "transcription",
        "n": len(outcome),
        "words": int(sums[1]),
        "metrics": {name: float(v) if np.isfinite(v) else None for name, v in figures(sums).items()},
        "intervals": {name: interval(values) for name, values in drawn.items()},
        "confused": _confused(given, wanted),
    }


def agreement(one: Outcome, other: Outcome) -> float:
    """Share of recordings whose likeliest paths say the same."""
    same = [_said(a) == _said(b) for a, b in zip(one.scores, other.scores, strict=True)]
    return float(np.mean(same))


def score(outcome: Outcome, labels: Sequence[str]) -> tuple[str, float]:
    counts = np.array([faults(a, str(b)) for a, b in zip(texts(outcome, labels), outcome.truth, strict=True)])
    return "wer", float(counts[:, 0].sum() / max(counts[:, 1].sum(), 1))


def match(truth: Entries, ids: Sequence[int], classes: int) -> Entries:
    return truth


def used(truth: Entries) -> set[int]:
    return set()


def texts(outcome: Outcome, labels: Sequence[str]) -> list[str]:
    """What the model heard, one text a recording."""
    return [_text(row, labels) for row in outcome.scores]


def faults(given: str, wanted: str) -> tuple[int, int, int, int, int]:
    """(wrong words, true words, wrong characters, true characters, whether all is right)."""
    words, true = given.split(), wanted.split()
    return distance(words, true), len(true), distance(given, wanted), len(wanted), int(given == wanted)


def _text(row: Any, labels: Sequence[str]) -> str:
    return row if isinstance(row, str) else read(_said(row), labels)


def _said(row: Any) -> Any:
    """Unit ids, or the text; either compares."""
    if isinstance(row, str):
        return row
    row = np.asarray(row)
    return collapse(row.argmax(axis=-1) if row.ndim > 1 else row)[0].tolist()


def _confused(given: Sequence[str], wanted: Sequence[str]) -> list[dict[str, Any]]:
    pairs: Counter[tuple[str | None, str | None]] = Counter()
    words: Counter[str] = Counter()
    for one, other in zip(given, wanted, strict=True):
        true = other.split()
        words.update(true)
        pairs.update(changes(one.split(), true))
    return [
        {"true": true, "predicted": said, "count": count, "share": None if true is None else count / words[true]}
        for (true, said), count in pairs.most_common(MOST_CONFUSED)
    ]
