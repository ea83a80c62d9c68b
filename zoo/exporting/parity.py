"""What an export is worth: the same samples through torch and through the exported file, compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from zoo.continuing import Continues
from zoo.decoding import greedy, prompt_ids
from zoo.kinds import kind_of
from zoo.targets import Answers

CONTINUED = 8
CONTINUATION = 16


@dataclass(frozen=True)
class Parity:
    """Torch against the export on the same samples.

    Attributes:
        samples: how many of the user's inputs.
        max_logit_difference: largest absolute difference of any logit.
        agreement: share of samples with the same answer (see :meth:`zoo.kinds.Kind.agreement`).
        score_name: ``"accuracy"``, ``"exact_match"``, ``"mae"``, ...: the kind's; empty where nobody knows the truth.
        score_torch, score_onnx: that score on either side, or None.
    """

    samples: int
    max_logit_difference: float
    agreement: float
    score_name: str
    score_torch: float | None
    score_onnx: float | None

    @property
    def scores(self) -> tuple[float, float] | None:
        """(torch's, the export's) where there is a truth."""
        return None if self.score_torch is None or self.score_onnx is None else (self.score_torch, self.score_onnx)


def compare(torch_side: Answers, onnx_side: Answers, task: str, labels: Sequence[str]) -> Parity:
    """Both sides answered the same inputs, with their truth where it is known."""
    kind = kind_of(task)
    name, left, right = "", None, None
    if len(torch_side.outcome.truth):
        name, left = kind.score(torch_side.outcome, labels)
        _, right = kind.score(onnx_side.outcome, labels)
    pairs = zip(torch_side.logits, onnx_side.logits, strict=True)
    return Parity(
        samples=len(set(torch_side.outcome.owner)),
        max_logit_difference=max(float(np.abs(one - other).max()) for one, other in pairs),
        agreement=kind.agreement(torch_side.outcome, onnx_side.outcome),
        score_name=name,
        score_torch=left,
        score_onnx=right,
    )


def compare_next(torch_side: Continues, onnx_side: Continues, texts: Sequence[str]) -> Parity:
    """Language models: the token after the first half of each text on both sides, and how :data:`CONTINUED` of those
    halves go on by greedy decoding. An answer is a next token or a whole continuation; the score is the share of next
    tokens that are those of the text."""
    halves: list[list[int]] = []
    new = min(CONTINUATION, onnx_side.tokens.max_length // 2)
    wanted: list[int] = []
    for text in texts:
        ids = prompt_ids(onnx_side.tokens, text, new)
        middle = max(1, len(ids) // 2)
        halves.append(ids[:middle])
        wanted.append(ids[middle] if middle < len(ids) else -1)
    difference, chosen = 0.0, []
    for ids in halves:
        inputs = np.array([ids], np.int64), np.ones((1, len(ids)), np.int64)
        one, other = torch_side.next_logits(*inputs), onnx_side.next_logits(*inputs)
        difference = max(difference, float(np.abs(one - other).max()))
        chosen.append((int(one.argmax()), int(other.argmax())))
    end = onnx_side.tokens.special.eos
    left, right = (greedy(side.next_logits, halves[:CONTINUED], end, new) for side in (torch_side, onnx_side))
    same = [one == other for one, other in [*chosen, *zip(left, right, strict=True)]]
    return Parity(
        samples=len(halves),
        max_logit_difference=difference,
        agreement=float(np.mean(same)),
        score_name="next_token_accuracy",
        score_torch=float(np.mean([one == token for (one, _), token in zip(chosen, wanted, strict=True)])),
        score_onnx=float(np.mean([other == token for (_, other), token in zip(chosen, wanted, strict=True)])),
    )


def latencies(calls: dict[str, Callable[[], object]], *, seconds: float, most: int = 100) -> dict[str, float]:
    """Median milliseconds of each call, of torch's on one thread.

    Rounds are interleaved, so that a slow moment of the machine hits all alike. Each turn begins with a pause and an
    untimed call: worker threads go on spinning after a call, and those of one library would slow the next one down.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times = _timed(calls, seconds, most)
    finally:
        torch.set_num_threads(threads)
    return {name: 1000 * float(np.median(values)) for name, values in times.items()}


def _timed(calls: dict[str, Callable[[], object]], seconds: float, most: int) -> dict[str, list[float]]:
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
    return times


def pick(total: int, limit: int, seed: int = 0) -> np.ndarray:
    """At most ``limit`` of ``total`` positions, in order, drawn evenly by ``seed``."""
    if total <= limit:
        return np.arange(total)
    return np.sort(np.random.default_rng(seed).choice(total, limit, replace=False))
