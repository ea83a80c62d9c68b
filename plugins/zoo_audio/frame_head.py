"""What is heard when. B batch, N frames, W ticks of a label, D embedding width, C classes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.counts import Counts
from zoo.data.events import TICK
from zoo.protocols import IGNORE, Batch, Features, Metrics
from zoo_audio.frame_outputs import FrameLinear, real_frames
from zoo_registry.errors import DataError, PluginError


class FrameHead(nn.Module):
    """One class for each frame, of which class 0 is that there is none. ``forward`` (B, N, D) -> logits (B, N, C);
    frames that are padding are of class 0, certainly.

    Args:
        dim: D.
        labels: class names in id order, the first for what is in no event.
        dropout: on the frames.

    Raises:
        DataError: no class but the first.
    """

    task = "frame-classification"
    uses = ("tokens",)
    needs = ("Frames",)
    monitor = ("macro_f1", "max")
    frame_seconds = 0.0  # of the backbone, which zoo.tasks tells

    def __init__(self, dim: int, labels: tuple[str, ...], *, dropout: float = 0.0) -> None:
        super().__init__()
        if len(labels) < 2:
            raise DataError("The recordings have no events, so there is nothing to learn.", "Give events with labels.")
        self.labels = tuple(labels)
        self.frames = FrameLinear(dim, len(labels), dropout)

    def forward(self, features: Features) -> Tensor:
        return self.frames(features)

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross entropy summed over frames, and their number. ``batch["label"]`` (B, W) class ids, one every
        :data:`zoo.data.events.TICK` of a clip, IGNORE on padding; see :func:`frame_targets`."""
        target = frame_targets(logits, batch["label"], self.frame_seconds)
        total = F.cross_entropy(logits.float().flatten(0, 1), target.flatten(), ignore_index=IGNORE, reduction="sum")
        return total, (target != IGNORE).sum().float()

    def decode(self, logits: Tensor, batch: Batch | None = None) -> dict[str, Tensor]:
        """``scores`` (B, N, C) probabilities, ``label`` (B, N) class ids."""
        return {"scores": logits.float().softmax(dim=-1), "label": logits.argmax(dim=-1)}

    def metrics(self) -> Metrics:
        return FrameMetrics(len(self.labels), self.frame_seconds)


class FrameMetrics:
    """Streaming ``accuracy`` over frames, and ``macro_f1`` over the classes of events that occur or are found.

    Args:
        classes: C.
        frame_seconds: from one frame to the next.
    """

    def __init__(self, classes: int, frame_seconds: float) -> None:
        self.classes, self.frame_seconds = classes, frame_seconds
        self.counts = Counts(3, classes)  # right, given, wanted

    def update(self, logits: Tensor, batch: Batch) -> None:
        """logits (B, N, C); ``batch`` as in the loss."""
        target = frame_targets(logits, batch["label"], self.frame_seconds)
        real = target != IGNORE
        wanted, given = target[real], logits.argmax(dim=-1)[real]
        parts = (given[given == wanted], given, wanted)
        self.counts.add(torch.stack([part.bincount(minlength=self.classes) for part in parts]))

    def compute(self) -> dict[str, float]:
        right, given, wanted = self.counts.total()
        f1 = (2 * right / (given + wanted))[1:]
        seen = f1[f1.isfinite()]
        return {
            "macro_f1": float(seen.mean()) if len(seen) else 0.0,
            "accuracy": float(right.sum() / wanted.sum().clamp(min=1)),
        }

    def reset(self) -> None:
        self.counts.reset()

    def to(self, device: torch.device) -> FrameMetrics:
        self.counts.to(device)
        return self


def frame_targets(logits: Tensor, label: Tensor, frame_seconds: float) -> Tensor:
    """(B, N) class of each frame: that of the tick under its middle, so that frame ``i`` stands for what is heard from
    ``i`` to ``i + 1`` times ``frame_seconds``, as predictions say. IGNORE on padding, and for a frame more than the
    time divides into.

    Args:
        logits: (B, N, C) of :class:`zoo_audio.frame_outputs.FrameLinear`.
        label: (B, W) class ids, one a tick, IGNORE on padding.
        frame_seconds: from one frame to the next.

    Raises:
        PluginError: nobody said how long frames are.
    """
    if frame_seconds <= 0:
        raise PluginError("The head does not know how long frames are.", "Build it into a task with its backbone.")
    middle = (torch.arange(logits.shape[1], device=logits.device) + 0.5) * (frame_seconds / TICK)
    # One column more is what lies behind the last tick.
    behind = F.pad(label, (0, 1), value=IGNORE)
    target = behind.gather(1, middle.long().clamp(max=label.shape[1]).expand(len(label), -1))
    return target.masked_fill(~real_frames(logits), IGNORE)
