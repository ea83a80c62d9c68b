"""A generator after DCGAN's (Radford et al., "Unsupervised representation learning with deep convolutional generative
adversarial networks", ICLR 2016, arXiv:1511.06434). B samples, Z numbers of a latent."""

from __future__ import annotations

from torch import Tensor, nn

from zoo_registry.errors import UsageError

SMALLEST = 32
FIRST = 4  # rows and columns of the first map, at least
WIDEST = 8  # times the last map's channels
GROUP = 8  # channels that are normalised together


class Generator(nn.Module):
    """A latent (B, Z) becomes a small map, which is doubled and convolved until it is an image (B, C, H, W) in -1..1.

    The paper has transposed convolutions, which draw checkerboards (Odena et al., "Deconvolution and checkerboard
    artifacts", 2016). It has batch normalisation where here is that of groups: an image then depends on its latent
    alone, not on what else is in its micro-batch.

    Args:
        latent: Z.
        width: channels of the last map, a multiple of 8; maps before it have twice as many each, up to 8 times.
        size: (C, H, W).

    Raises:
        UsageError: a size that no small map doubles to.
    """

    def __init__(self, latent: int, width: int, size: tuple[int, int, int]) -> None:
        super().__init__()
        channels, height, width_px = size
        doublings = count_doublings(height, width_px)
        widths = [min(2 ** (doublings - 1 - i), WIDEST) * width for i in range(doublings)]
        self.start = (widths[0], height // 2**doublings, width_px // 2**doublings)
        layers: list[nn.Module] = [
            nn.Linear(latent, self.start[0] * self.start[1] * self.start[2]),
            nn.Unflatten(1, self.start),
            *_activated(widths[0]),
        ]
        for wide, narrow in zip(widths, [*widths[1:], channels], strict=True):
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(wide, narrow, 3, padding=1), *_activated(narrow)]
        self.layers = nn.Sequential(*layers[:-2], nn.Tanh())
        for module in self.layers:
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.normal_(module.weight, std=0.02)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, latent: Tensor) -> Tensor:
        image: Tensor = self.layers(latent)
        return image


def count_doublings(height: int, width: int) -> int:
    """How often a map of 4x4 or more doubles to ``height`` x ``width``.

    Raises:
        UsageError: not at least twice, or below 32 pixels.
    """
    doublings = 0
    while not (height % 2 ** (doublings + 1) or width % 2 ** (doublings + 1)):
        if min(height, width) // 2 ** (doublings + 1) < FIRST:
            break
        doublings += 1
    if min(height, width) < SMALLEST or doublings < 2:
        raise UsageError(
            f"The generator makes no images of {width}x{height}.",
            f"Give a --size from {SMALLEST} on that 4 divides, such as {SMALLEST} or 64.",
        )
    return doublings


def _activated(channels: int) -> list[nn.Module]:
    groups = channels // GROUP if channels % GROUP == 0 else 1
    return [nn.GroupNorm(groups, channels), nn.ReLU()]
