"""Speech to text by connectionist temporal classification. B batch, N frames, W units of a transcript, C known ones."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.counts import Counts
from zoo.ctc import BLANK, collapse
from zoo.kinds.transcription import faults
from zoo.protocols import IGNORE, Batch, Features, Metrics
from zoo.units import read
from zoo_audio.frame_outputs import FrameLinear, real_frames
from zoo_registry.errors import DataError

PADDING = -1
"""Stands for the class of a frame that is padding."""


class CtcHead(nn.Module):
    """A unit or the blank for each frame, without knowing where in the recording a unit is said (Graves et al.,
    "Connectionist Temporal Classification", 2006). ``forward`` (B, N, D) -> logits (B, N, 1 + C): class 0 is the blank,
    unit ``i`` class ``i + 1``; frames that are padding are blank, certainly.

    Args:
        dim: D.
        labels: units in id order: characters or pieces of words (:mod:`zoo.units`).
        dropout: on the frames.

    Raises:
        DataError: no units.
    """

    task = "transcription"
    uses = ("tokens",)
    needs = ("Frames",)
    monitor = ("wer", "min")

    def __init__(self, dim: int, labels: tuple[str, ...], *, dropout: float = 0.0) -> None:
        super().__init__()
        if not labels:
            raise DataError("The transcripts have no characters, so there is nothing to learn.", "Give transcripts.")
        self.labels = tuple(labels)
        self.frames = FrameLinear(dim, 1 + len(labels), dropout)

    def forward(self, features: Features) -> Tensor:
        return self.frames(features)

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Negative log likelihood of the transcripts, summed over the batch, and their number of units (1 for one
        without any), so that the loss is one of a unit, whatever the length of a clip and the share of a batch.
        ``batch["label"]`` (B, W) unit ids, IGNORE on padding. A clip with fewer frames than its transcript needs costs
        nothing and counts nothing; metrics say how many there are."""
        label = batch["label"]
        frames, units = real_frames(logits).sum(dim=1), (label != IGNORE).sum(dim=1)
        target = (label + 1).masked_fill(label == IGNORE, BLANK)
        fits = frames_needed(label) <= frames
        log_probs = logits.float().log_softmax(dim=-1).transpose(0, 1)
        # Those that do not fit have an infinite loss, which zero_infinity makes 0, gradient included.
        total = F.ctc_loss(log_probs, target, frames, units, blank=BLANK, reduction="sum", zero_infinity=True)
        return total, (units.clamp(min=1) * fits).sum().float()

    @torch.no_grad()
    def keep(self, logits: Tensor, batch: Batch) -> Tensor:
        """(B, N) float32: the likeliest class of each frame, :data:`PADDING` where there is none."""
        return logits.argmax(dim=-1).masked_fill(~real_frames(logits), PADDING).float()

    def decode(self, logits: Tensor, batch: Batch | None = None) -> dict[str, Tensor]:
        """``scores`` (B, N, 1 + C) probabilities, ``label`` (B, N) the likeliest classes, to be collapsed by
        :mod:`zoo.ctc`. Of what was kept, (B, N), both are that."""
        if logits.dim() < 3:
            return {"scores": logits.float(), "label": logits.long()}
        return {"scores": logits.float().softmax(dim=-1), "label": logits.argmax(dim=-1)}

    def metrics(self) -> Metrics:
        return CtcMetrics(self.labels)


class CtcMetrics:
    """Streaming word error rate (``wer``), character error rate (``cer``: of characters, whatever the units) and share
    of transcripts without a fault (``exact_match``), of greedy decoding. ``too_short`` is the number of clips with
    fewer frames than their transcript needs, where there are any.

    Args:
        labels: units in id order.
    """

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels
        self.sums = Counts(7)

    def update(self, logits: Tensor, batch: Batch) -> None:
        """logits: (B, N) as :meth:`CtcHead.keep`; ``label`` (B, W) as in the loss."""
        label = batch["label"]
        short = frames_needed(label) > (logits != PADDING).sum(dim=1)
        paths, ids = logits.cpu().numpy(), label.cpu().numpy()
        rows = [
            faults(read(collapse(path)[0].tolist(), self.labels), read(row[row != IGNORE].tolist(), self.labels))
            for path, row in zip(paths, ids, strict=True)
        ]
        counts = np.array([[*row, 1] for row in rows]).sum(axis=0)
        self.sums.add(torch.tensor([*counts.tolist(), float(short.sum())], dtype=torch.float64))

    def compute(self) -> dict[str, float]:
        wrong_words, words, wrong_characters, characters, exact, n, short = self.sums.total().tolist()
        found = {
            "wer": wrong_words / max(words, 1),
            "cer": wrong_characters / max(characters, 1),
            "exact_match": exact / max(n, 1),
        }
        return {**found, "too_short": short} if short else found

    def reset(self) -> None:
        self.sums.reset()

    def to(self, device: torch.device) -> CtcMetrics:
        self.sums.to(device)
        return self


def frames_needed(label: Tensor) -> Tensor:
    """(B,) the fewest frames that say each transcript (B, W): one a unit, and a blank between equal neighbours."""
    again = (label[:, 1:] == label[:, :-1]) & (label[:, 1:] != IGNORE)
    return (label != IGNORE).sum(dim=1) + again.sum(dim=1)
