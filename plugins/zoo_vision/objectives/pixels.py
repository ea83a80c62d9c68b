"""Between normalised images, their patches, and pictures to look at. B images, N patches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo_registry.specs import InputSpec


class Pixels(nn.Module):
    """The normalisation of an input contract, both ways.

    Args:
        input: of images.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, input: InputSpec) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(input.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(input.std)[:, None, None], persistent=False)

    def normalise(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) in 0..1 -> what a backbone takes."""
        return (pixels - self.mean) / self.std

    def picture(self, image: Tensor) -> Tensor:
        """What a backbone takes -> uint8 (B, C, H, W)."""
        pixels = image.float() * self.std + self.mean
        return (pixels * 255).round().clamp(0, 255).to(torch.uint8)


def patchify(image: Tensor, patch: tuple[int, int]) -> Tensor:
    """(B, C, H, W) -> (B, N, patch height * patch width * C), row by row; a rest that fills no patch is left out."""
    rows, columns = image.shape[2] // patch[0], image.shape[3] // patch[1]
    cut = image[:, :, : rows * patch[0], : columns * patch[1]]
    blocks = cut.unflatten(3, (columns, patch[1])).unflatten(2, (rows, patch[0]))  # (B, C, rows, p, columns, q)
    return blocks.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def unpatchify(patches: Tensor, patch: tuple[int, int], image: Tensor) -> Tensor:
    """What :func:`patchify` undid of an image, put back over it: (B, C, H, W)."""
    rows, columns = image.shape[2] // patch[0], image.shape[3] // patch[1]
    blocks = patches.unflatten(2, (*patch, image.shape[1])).unflatten(1, (rows, columns))
    made = image.clone()
    whole = blocks.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)
    made[:, :, : rows * patch[0], : columns * patch[1]] = whole.to(made.dtype)
    return made
