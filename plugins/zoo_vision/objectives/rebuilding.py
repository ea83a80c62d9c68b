"""What objectives share that rebuild an image from a spoilt one. B images, N parts of each that are compared, P values
of a part."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from zoo.objectives import COUNT, PretrainingTask, RebuiltMetrics
from zoo.protocols import Batch, Metrics
from zoo_vision.objectives.pixels import Pixels

SHOWN = 16


class RebuildingTask(PretrainingTask):
    """A task with a target for each part of an image; the loss of a part is the mean squared error over its values.

    What it is held against is the mean of the targets over the training split (:class:`zoo.protocols.FitsData`): for
    plain pixels the mean image, the best guess of whoever has not seen the image.

    Args:
        shape: (N, P).
    """

    mean_target: Tensor

    def __init__(self, backbone: Any, input: Any, shape: tuple[int, int]) -> None:
        super().__init__(backbone)
        self.pixels = Pixels(input)
        self.register_buffer("mean_target", torch.zeros(shape))

    def target(self, batch: Batch) -> Tensor:
        """(B, N, P) float."""
        raise NotImplementedError

    def rebuild(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Guesses (B, N, P); (B, N) bool, which of them count; and the spoilt image (B, C, H, W) to be shown."""
        raise NotImplementedError

    def image_of(self, batch: Batch, guess: Tensor, counted: Tensor) -> Tensor:
        """The image (B, C, H, W) with its counted parts as guessed."""
        raise NotImplementedError

    @torch.no_grad()
    def fit_data(self, batches: Iterable[Batch]) -> None:
        """Find the mean target."""
        seen = 0
        for batch in batches:
            target = self.target(batch)
            seen += len(target)
            # A running mean, as some devices have no float64 to add up in.
            self.mean_target += (target.mean(dim=0) - self.mean_target) * (len(target) / seen)

    def forward(self, batch: Batch, phase: str = "main") -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor | None]:
        guess, counted, _ = self.rebuild(batch)
        with torch.autocast(guess.device.type, enabled=False):
            target = self.target(batch)
            error = ((guess.float() - target).square().mean(dim=2) * counted).sum(dim=1)
            baseline = ((self.mean_target - target).square().mean(dim=2) * counted).sum(dim=1)
            sums = torch.stack([error.detach(), counted.sum(dim=1).float(), baseline], dim=1)
        return error.sum(), sums[:, COUNT].sum(), {}, sums

    def metrics(self) -> Metrics:
        """See :class:`zoo.objectives.RebuiltMetrics`; what knows nothing of the image is the mean target."""
        return RebuiltMetrics(3)

    def show(self, batch: Batch) -> dict[str, Tensor]:
        """Images beside each other as they are, as the backbone saw them, and as they were rebuilt."""
        few = {name: tensor[:SHOWN] for name, tensor in batch.items()}
        guess, counted, spoilt = self.rebuild(few)
        rebuilt = self.image_of(few, guess.float(), counted)
        return {"rebuilt": self.pixels.picture(torch.cat([few["image"], spoilt, rebuilt], dim=3))}
