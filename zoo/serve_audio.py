"""Sounds through a network, without torch: long recordings in parts, batches of like lengths, and what the parts'
outputs say of the whole. An export, a run and ``zoo embed`` share it, so that they answer alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from zoo.data.bucket import longest_first, token_cuts
from zoo.kinds.frames import by_time
from zoo.padding import pad
from zoo.sounds import FULL_SCALE, open_sound, spec_from
from zoo.windowing import average, window_starts, windows_of

BATCH_SECONDS = 60.0
"""Seconds of sound, padding included, that go through a network at once; one longer recording goes alone."""

OFF = -1e4
"""Logit of what is ruled out."""

BY_FRAME = ("transcription", "frame-classification")
"""Tasks with one answer for each frame of sound."""

Run = Callable[[dict[str, np.ndarray]], Sequence[np.ndarray]]
"""An onnxruntime session: inputs by name to its outputs."""

Forward = Callable[[Sequence[np.ndarray]], Sequence[Sequence[np.ndarray]]]
"""A batch of int16 (n_i,) to logits and scores, each with one row for a member of the batch, free of padding."""


@dataclass(frozen=True)
class Parts:
    """How recordings go through a network that hears ``window`` samples at once.

    One answer for a recording is the mean over its windows (:mod:`zoo.windowing`), as in training's evaluation. So is
    that for each of its frames, over the windows that hold it. But texts cannot be averaged: a recording longer than
    the window is cut, without overlap, at the quietest moment of the last fifth of each window, and the frames of its
    parts follow one another.

    Attributes:
        window: in samples; 0: whole recordings.
        most: samples of a batch, padding included; 1: one part at a time.
        hop: samples from frame to frame; 0: one answer for a recording.
        seam: for texts the class of a frame that is put between two parts, so that they stay apart; else None.
    """

    window: int
    most: int
    hop: int = 0
    seam: int | None = None

    def of(self, array: np.ndarray) -> list[np.ndarray]:
        """The parts of a recording (n,), one after another; windows overlap. Views, not copies."""
        if self.seam is None:
            return windows_of(array, self.window)
        window, parts = self.window - self.window % self.hop, []
        while 0 < window < len(array):
            end = _pause(array, window, self.hop)
            parts.append(array[:end])
            array = array[end:]
        return [*parts, array]

    def count_long(self, arrays: Sequence[np.ndarray]) -> int:
        """How many recordings are longer than a window."""
        return sum(0 < self.window < len(array) for array in arrays)

    def run(
        self, arrays: Sequence[np.ndarray], forward: Forward, decode: Callable[[np.ndarray], np.ndarray]
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Recordings to (logits, scores), one entry each: (C,), or (N, C) for N frames.

        Args:
            decode: logits of a recording to its scores, where they are a mean over windows.
        """
        parts = [self.of(array) for array in arrays]
        outputs = _in_batches([part for one in parts for part in one], self.most, forward)
        ends = np.cumsum([len(one) for one in parts])
        logits, scores = (
            [rows[end - len(one) : end] for end, one in zip(ends, parts, strict=True)] for rows in outputs
        )
        if not self.hop:
            whole = [rows[0] if len(rows) == 1 else average(rows, [0] * len(rows))[0] for rows in logits]
            given = zip(whole, scores, strict=True)
            return whole, [rows[0] if len(rows) == 1 else decode(mean) for mean, rows in given]
        each = list(zip(arrays, parts, logits, scores, strict=True))
        return (
            [self._frames(array, one, rows, (0.0, OFF)) for array, one, rows, _ in each],
            [self._frames(array, one, rows, (1.0, 0.0)) for array, one, _, rows in each],
        )

    def _frames(
        self,
        array: np.ndarray,
        parts: Sequence[np.ndarray],
        rows: Sequence[np.ndarray],
        sure: tuple[float, float],
    ) -> np.ndarray:
        """The frames of a recording from those of its parts; ``sure`` of the seam's class and of all others."""
        if len(rows) == 1:
            return rows[0]
        if self.seam is None:
            starts = np.rint(window_starts(len(array), self.window) / self.hop).astype(int)
            return by_time(list(zip(starts.tolist(), rows, strict=True)))
        seam = np.full((1, rows[0].shape[1]), sure[1], rows[0].dtype)
        seam[0, self.seam] = sure[0]
        first = [(_fill(row, len(part) // self.hop), seam) for part, row in zip(parts[:-1], rows[:-1], strict=True)]
        return np.concatenate([*(one for pair in first for one in pair), rows[-1]])


def parts_for(meta: Mapping[str, Any], frame_seconds: float) -> Parts:
    """How a model hears recordings.

    Args:
        meta: the ``model.json`` of a run or an export.
        frame_seconds: from frame to frame.
    """
    task, labels, rate = meta["task"], meta["labels"], meta["preprocessing"]["rate"]
    parts = windows_for(meta["preprocessing"])
    if task not in BY_FRAME:
        return parts
    parts = replace(parts, hop=max(1, round(frame_seconds * rate)))
    if task != "transcription":
        return parts
    # Training leaves what is longer out, so that its pipeline knows no limit: it is the network's own. Pieces of words
    # say themselves where a word begins; characters need the space. Class 0 is the blank.
    seam = 1 + labels.index(" ") if " " in labels else 0
    return replace(parts, window=parts.window or round(meta["input"]["seconds"] * rate), seam=seam)


def windows_for(describe: dict[str, Any]) -> Parts:
    """Windows as a pipeline's description has them, with one answer for a recording.

    Raises:
        DataError: no description of sound that this zoo knows.
    """
    spec = spec_from(describe)
    return Parts(round(spec.seconds * spec.rate), round(BATCH_SECONDS * spec.rate))


def hear_vectors(
    parts: Parts,
    arrays: Sequence[np.ndarray],
    forward: Callable[[Sequence[np.ndarray]], np.ndarray],
    task: str = "speaker-verification",
) -> np.ndarray:
    """Recordings -> (B, D) vectors: of a long one the mean over its windows, decoded as :func:`scores_of` does by the
    ``task``: made a unit vector again, or left as it is."""

    def twice(some: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        vectors = list(forward(some))
        return vectors, vectors

    return np.stack(parts.run(arrays, twice, partial(scores_of, task))[1])


def scores_of(task: str, logits: np.ndarray) -> np.ndarray:
    """What the head's decoding makes of logits (C,), in numpy: a graph decodes no mean over windows."""
    if task == "regression":
        return logits
    if task == "speaker-verification":
        return logits / np.maximum(np.linalg.norm(logits), 1e-12)
    if task == "multi-label":
        return 0.5 + 0.5 * np.tanh(0.5 * logits)  # the logistic function, which would overflow
    raised = np.exp(logits - logits.max())
    return raised / raised.sum()


class AudioInput:
    """How an export reads sounds.

    Args:
        meta: its ``model.json``.
        session: runs the graph: its inputs by name to its outputs.

    Raises:
        DataError: ``meta`` describes no sound preprocessing that this zoo knows.
    """

    def __init__(self, meta: dict[str, Any], session: Run) -> None:
        self.task: str = meta["task"]
        self.rate = spec_from(meta["preprocessing"]).rate
        self.session = session
        self.parts = parts_for(meta, meta.get("frame_seconds", 0.0))
        if meta.get("precision") == "int8" and "calibration" not in meta:
            # Dynamic int8 scales a batch by its largest value, and an answer must not hang on its neighbours.
            self.parts = replace(self.parts, most=1)

    def decode(self, item: Any) -> np.ndarray:
        """A file, its bytes, a part of a file or an array as int16 (n,), see :func:`zoo.sounds.open_sound`.

        Raises:
            DataError: no sound that can be read.
        """
        return open_sound(item, self.rate)

    def feed(self, arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """See :func:`graph_inputs`."""
        return graph_inputs(arrays)

    def run(self, arrays: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Decoded sounds to (logits, scores), one entry each; (N, C) for N frames where the task answers so."""
        return self.parts.run(arrays, self._forward, partial(scores_of, self.task))

    def _forward(self, arrays: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
        logits, scores, *frames = self.session(graph_inputs(arrays))
        if not frames:
            return [list(logits), list(scores)]
        return [[row[:count] for row, count in zip(rows, frames[0], strict=True)] for rows in (logits, scores)]


def graph_inputs(arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """int16 (n_i,) as the inputs of a graph: ``waveform`` float32 (B, longest), zero at the end, and ``length``."""
    waveform, length = pad(arrays)
    return {"waveform": waveform.astype(np.float32) / np.float32(FULL_SCALE), "length": length}


def _in_batches(arrays: Sequence[np.ndarray], most: int, forward: Forward) -> list[list[np.ndarray]]:
    """The rows of each output in the order of the arrays, which go through longest first, like lengths together."""
    lengths = np.array([max(1, len(array)) for array in arrays])
    order = longest_first(np.arange(len(arrays)), lengths)
    found: dict[int, list[np.ndarray]] = {}
    for rows in np.split(order, token_cuts(lengths[order], most)):
        outputs = forward([arrays[row] for row in rows])
        found.update((int(row), [output[place] for output in outputs]) for place, row in enumerate(rows))
    return [list(output) for output in zip(*(found[row] for row in range(len(arrays))), strict=True)]


def _pause(array: np.ndarray, window: int, hop: int) -> int:
    """The quietest place of the last fifth of a window: a whole number of hops."""
    first = min((window - window // 5) // hop, window // hop - 1)
    blocks = array[first * hop : window].reshape(-1, hop).astype(np.float32)
    near, ones = np.ones(5), np.ones(len(blocks))
    around = slice(2, 2 + len(blocks))
    loud = np.convolve((blocks**2).mean(axis=1), near)[around] / np.convolve(ones, near)[around]
    return (first + 1 + int(loud.argmin())) * hop


def _fill(row: np.ndarray, count: int) -> np.ndarray:
    """As many frames as the part's length is worth: networks give one more or fewer at the ends."""
    return row[np.minimum(np.arange(count), len(row) - 1)]
