"""What is heard when: scores are (N, C) probabilities of each frame's class, of which class 0 is none; truth is events,
``(start, end, class id)`` in seconds.

A recording may come in several samples that overlap (windows): their frames are put together by time, the mean where
there are several.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.class_table import class_table, plain
from zoo.events import Event, count_events, events_of, frames_of
from zoo.kinds import Entries, Outcome
from zoo_registry.errors import UsageError

token_level = True
needs_arrays = False


def predictions(outcome: Outcome, labels: Sequence[str]) -> list[dict[str, Any]]:
    """``label`` the events in order, each ``{"start", "end", "label", "score"}`` in seconds with its mean probability;
    ``score`` the mean of theirs, None without any; ``scores`` empty."""
    rows: list[dict[str, Any]] = []
    for scores in joined(outcome).values():
        found = events_of(scores.argmax(axis=1), outcome.frame_seconds)
        certain = [float(scores[one.first : one.stop, one.kind].mean()) for one in found]
        events = [
            {"start": round(one.start, 3), "end": round(one.end, 3), "label": labels[one.kind], "score": sure}
            for one, sure in zip(found, certain, strict=True)
        ]
        rows.append({"label": events, "score": float(np.mean(certain)) if events else None, "scores": {}})
    return rows


def report(outcome: Outcome, labels: Sequence[str]) -> dict[str, Any]:
    """Events count as found where class, start and end are right, within :data:`zoo.events.COLLAR` seconds, the end
    also within a fifth of the event's length; ``accuracy`` and ``macro_f1`` (over classes of events that occur or are
    found) count frames.

    Intervals are 95 %: Wilson for precision and recall of a class, else a seeded bootstrap over recordings.

    Returns:
        ``{"task", "n": recordings, "frames", "metrics", "intervals", "classes"}``; classes count events, as in
        :func:`zoo.metrics.full_classification_report` without AUROC.

    Raises:
        UsageError: no samples.
    """
    from zoo.resampling import interval, resampled_sums, shares

    if not len(outcome):
        raise UsageError("There is nothing to measure: the split has no samples.", "Give a split with samples.")
    # (recordings, 2 C, 3) right, given, wanted: events by class, then frames by class.
    counts, classes = _counts(outcome, len(labels)), len(labels)

    def figures(sums: np.ndarray) -> dict[str, np.ndarray]:
        """Of (..., 2 C, 3) sums."""
        hits, found, real = np.moveaxis(sums[..., 1:classes, :].sum(axis=-2), -1, 0)
        frames = sums[..., classes:, :]
        f1 = shares(2 * frames[..., 1:, 0], frames[..., 1:, 1] + frames[..., 1:, 2])
        return {
            "event_f1": shares(2 * hits, found + real),
            "event_precision": shares(hits, found),
            "event_recall": shares(hits, real),
            "macro_f1": np.nansum(f1, axis=-1) / np.maximum((~np.isnan(f1)).sum(-1), 1),
            "accuracy": shares(frames[..., 0].sum(-1), frames[..., 2].sum(-1)),
        }

    sums, drawn = counts.sum(axis=0).astype(np.float64), resampled_sums(counts)
    return {
        "task": "frame-classification",
        "n": len(counts),
        "frames": int(sums[classes:, 2].sum()),
        "metrics": {name: plain(value) for name, value in figures(sums).items()},
        "intervals": {name: interval(values) for name, values in figures(drawn).items()},
        "classes": class_table(labels[1:], sums[1:classes], drawn[:, 1:classes]),
    }


def agreement(one: Outcome, other: Outcome) -> float:
    """Share of frames that both give the same class."""
    same = [
        np.asarray(a).argmax(axis=1) == np.asarray(b).argmax(axis=1)
        for a, b in zip(one.scores, other.scores, strict=True)
    ]
    return float(np.concatenate(same).mean())


def score(outcome: Outcome, labels: Sequence[str]) -> tuple[str, float]:
    right, given, wanted = _counts(outcome, len(labels))[:, 1 : len(labels)].sum(axis=(0, 1)).tolist()
    return "event_f1", 2 * right / max(given + wanted, 1)


def match(truth: Entries, ids: Sequence[int], classes: int) -> Entries:
    return [[(start, end, ids[kind]) for start, end, kind in events] for events in truth]


def used(truth: Entries) -> set[int]:
    return {int(kind) for events in truth for _, _, kind in events}


def joined(outcome: Outcome) -> dict[int, np.ndarray]:
    """(N, C) probabilities of each of the user's recordings, by owner, in order.

    Raises:
        UsageError: the outcome does not say how long a frame is.
    """
    if outcome.frame_seconds <= 0:
        raise UsageError("This model does not say how long its frames are.", "Use a model whose outputs are frames.")
    owners = outcome.owner if len(outcome.owner) else range(len(outcome))
    starts = outcome.starts if len(outcome.starts) else [0.0] * len(outcome)
    parts: dict[int, list[tuple[int, np.ndarray]]] = {}
    for owner, start, scores in zip(owners, starts, outcome.scores, strict=True):
        parts.setdefault(int(owner), []).append((round(start / outcome.frame_seconds), np.asarray(scores)))
    return {owner: by_time(found) for owner, found in parts.items()}


def by_time(parts: Sequence[tuple[int, np.ndarray]]) -> np.ndarray:
    """(N, C): what windows that overlap say of each frame, the mean where there are several.

    Args:
        parts: the number of the first frame, and the frames, of each window.
    """
    if len(parts) == 1:
        return parts[0][1]
    total = max(first + len(scores) for first, scores in parts)
    sums, times = np.zeros((total, parts[0][1].shape[1])), np.zeros(total, np.int64)
    for first, scores in parts:
        sums[first : first + len(scores)] += scores
        times[first : first + len(scores)] += 1
    # Networks give a frame or two less than fills a window: the one before them stands for those.
    known = np.maximum.accumulate(np.where(times > 0, np.arange(total), 0))
    return (sums / np.maximum(times, 1)[:, None])[known]


def _counts(outcome: Outcome, classes: int) -> np.ndarray:
    """(recordings, 2 C, 3) right, given and wanted: events by class, then frames by class."""
    owners = outcome.owner if len(outcome.owner) else range(len(outcome))
    truth = {int(owner): events for owner, events in zip(owners, outcome.truth, strict=True)}
    rows = []
    for owner, scores in joined(outcome).items():
        real = [Event(start, end, kind) for start, end, kind in truth[owner] if kind > 0]
        given = scores.argmax(axis=1)
        wanted = frames_of(real, len(given), outcome.frame_seconds)
        frames = [np.bincount(part, minlength=classes) for part in (given[given == wanted], given, wanted)]
        events = count_events(events_of(given, outcome.frame_seconds), real, classes)
        rows.append(np.concatenate([events, np.stack(frames, axis=1)]))
    return np.stack(rows)
