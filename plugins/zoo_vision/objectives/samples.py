"""What a generator is watched by: its losses tell neither quality nor collapse. N samples, P directions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.console import say
from zoo.everyones import everyones
from zoo.protocols import Batch

SIDE = 16
DIRECTIONS = 64
COLLAPSED = 0.1


def directions(channels: int) -> Tensor:
    """(channels * 16 * 16, 64) unit vectors in the space of small images, always the same."""
    numbers = torch.randn(channels * SIDE * SIDE, DIRECTIONS, generator=torch.Generator().manual_seed(0))
    return F.normalize(numbers, dim=0)


def along(images: Tensor, directions: Tensor) -> Tensor:
    """(B, C, H, W), shrunk to 16 x 16 pixels, along each direction: (B, P)."""
    return F.adaptive_avg_pool2d(images.float(), SIDE).flatten(1) @ directions


def sliced_distance(real: Tensor, made: Tensor) -> float:
    """The sliced Wasserstein distance of two sets of N samples (Rabin et al. 2011; Karras et al. 2018 use it on
    patches): along each direction (N, P) the mean distance of the sorted, averaged, in standard deviations of the real
    ones. 0: the same distribution."""
    gaps = (real.sort(dim=0).values - made.sort(dim=0).values).abs().mean()
    return float(gaps / real.std(dim=0, correction=0).mean().clamp(min=1e-12))


def diversity(real: Tensor, made: Tensor) -> float:
    """Standard deviation of samples (N, P) over that of real images: 0 where every sample is the same."""
    spread = real.std(dim=0, correction=0).mean().clamp(min=1e-12)
    return float(made.std(dim=0, correction=0).mean() / spread)


class SampleMetrics:
    """``distance`` (:func:`sliced_distance`) and ``diversity`` of as many samples as there are images;
    ``real_accuracy`` and ``fake_accuracy``, the shares of images and of samples that the discriminator takes for what
    they are; and figures that are known beforehand.

    Args:
        known: those.
    """

    def __init__(self, known: dict[str, float]) -> None:
        self.known = known
        self.parts: list[tuple[Tensor]] = []

    def update(self, logits: Tensor, batch: Batch) -> None:
        """logits: (B, 2P + 2): images along the directions, samples along them, and whether each was told right."""
        self.parts.append((logits,))

    def compute(self) -> dict[str, float]:
        rows = torch.cat([part for (part,) in everyones(self.parts)])
        real, made, right = rows.split([DIRECTIONS, DIRECTIONS, 2], dim=1)
        spread = diversity(real, made)
        if spread < COLLAPSED and len(real) > 1:
            say(
                f"The samples are nearly all the same: their spread is {spread:.3f} of the images'. Lower --lr, or "
                "give -O loss=non-saturating."
            )
        told = {"real_accuracy": float(right[:, 0].mean()), "fake_accuracy": float(right[:, 1].mean())}
        return {"distance": sliced_distance(real, made), "diversity": spread, **told, **self.known}

    def reset(self) -> None:
        self.parts = []

    def to(self, device: torch.device) -> SampleMetrics:
        return self
