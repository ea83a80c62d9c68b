"""The training transform: random crop, flip, colour jitter and erasing, drawn per sample, computed per batch.

torchvision's tensor transforms draw one crop for a whole batch; here every sample has its own, from
:class:`zoo.protocols.Draws`, so a sample looks the same whatever batch or process it falls into.
The crop is Inception's (Szegedy et al. 2015, arXiv:1409.4842), erasing is Zhong et al. 2020 (arXiv:1708.04896).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.protocols import Draws
from zoo_registry.errors import UsageError

_LUMA = {1: (1.0,), 3: (0.299, 0.587, 0.114)}  # ITU-R BT.601, as PIL's "L"


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Ranges of the training transform.

    Attributes:
        crop_scale: share of the canvas' area that a crop covers, drawn uniformly.
        crop_ratio: width / height of a crop, drawn uniformly in its logarithm. A side longer than the canvas is cut.
        flip: probability of a horizontal flip.
        jitter: strengths of brightness, contrast and saturation: factors are uniform in 1 - s .. 1 + s.
        erase: probability of replacing a rectangle with the mean colour.
        erase_scale, erase_ratio: its share of the area, and its width / height.

    Raises:
        UsageError: a range that is empty or outside its meaning.
    """

    crop_scale: tuple[float, float] = (0.35, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: tuple[float, float, float] = (0.2, 0.2, 0.2)
    erase: float = 0.0
    erase_scale: tuple[float, float] = (0.02, 0.2)
    erase_ratio: tuple[float, float] = (0.3, 3.3)

    def __post_init__(self) -> None:
        for name in ("crop_scale", "erase_scale"):
            low, high = getattr(self, name)
            if not 0 < low <= high <= 1:
                _refuse(name, getattr(self, name), "two shares of the area in ascending order, in 0..1")
        for name in ("crop_ratio", "erase_ratio"):
            low, high = getattr(self, name)
            if not 0 < low <= high < math.inf:
                _refuse(name, getattr(self, name), "two positive ratios in ascending order")
        for name in ("flip", "erase"):
            if not 0 <= getattr(self, name) <= 1:
                _refuse(name, getattr(self, name), "a probability in 0..1")
        if len(self.jitter) != 3 or not all(0 <= strength <= 1 for strength in self.jitter):
            _refuse("jitter", self.jitter, "three strengths in 0..1")


def _refuse(name: str, value: object, wanted: str) -> None:
    raise UsageError(f"The augmentation's {name} is {value}.", f"Give {wanted}.")


@torch.no_grad()
def augment_images(
    canvas: Tensor, draws: Draws, augmentation: Augmentation, size: tuple[int, int], mean: Tensor, std: Tensor
) -> Tensor:
    """uint8 (B, C, SH, SW) -> float32 (B, C, H, W), varied per sample and normalised.

    Crop and flip are one bilinear resampling without an antialiasing filter: a crop is never larger than the canvas,
    which exceeds the input by 1 / crop_pct (1.14 for most models), so there is next to nothing to alias.

    Args:
        draws: uniform numbers, one row a sample; streams ``"crop"``, ``"flip"``, ``"jitter"``, ``"erase"``.
        size: (H, W).
        mean, std: (C, 1, 1) on the canvas' device, for values in 0..1.
    """
    # Under autocast the matrix product below would round colours to 8 bits of mantissa.
    with torch.autocast(canvas.device.type, enabled=False):
        left, top, width, height = crop_boxes(draws, augmentation, canvas.shape[2], canvas.shape[3])
        mirrored = draws.uniform("flip", 1)[:, 0] < augmentation.flip
        images = resample(canvas, left, top, width, height, mirrored, size)
        images = jitter_colours(images, draws, augmentation.jitter).clamp_(0, 1).sub_(mean).div_(std)
        if augmentation.erase > 0:
            images.masked_fill_(erased(draws, augmentation, size), 0.0)
        return images


def crop_boxes(
    draws: Draws, augmentation: Augmentation, canvas_h: int, canvas_w: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(left, top, width, height), each (B,) in fractional canvas pixels, inside the canvas."""
    u = draws.uniform("crop", 4)
    area = _between(u[:, 0], augmentation.crop_scale) * (canvas_h * canvas_w)
    ratio = _log_between(u[:, 1], augmentation.crop_ratio)
    width = (area * ratio).sqrt().clamp(max=canvas_w)
    height = (area / ratio).sqrt().clamp(max=canvas_h)
    return u[:, 2] * (canvas_w - width), u[:, 3] * (canvas_h - height), width, height


def resample(
    canvas: Tensor, left: Tensor, top: Tensor, width: Tensor, height: Tensor, mirrored: Tensor, size: tuple[int, int]
) -> Tensor:
    """Each sample's box of the uint8 canvas, scaled bilinearly to ``size``: float32 (B, C, H, W) in 0..255."""
    batch, _, canvas_h, canvas_w = canvas.shape
    # Pixel i covers i..i+1 and is sampled at its centre; grid_sample wants -1..1 over the canvas.
    across = (torch.arange(size[1], device=canvas.device) + 0.5) / size[1]
    down = (torch.arange(size[0], device=canvas.device) + 0.5) / size[0]
    across = torch.where(mirrored[:, None], 1 - across, across)
    x = (left[:, None] + across * width[:, None]) * (2 / canvas_w) - 1
    y = (top[:, None] + down * height[:, None]) * (2 / canvas_h) - 1
    grid = torch.stack((x[:, None, :].expand(batch, *size), y[:, :, None].expand(batch, *size)), dim=-1)
    # Scaling to 0..1 happens in the colour matrix's pass over the data, not in one of its own.
    return F.grid_sample(canvas.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)


def jitter_colours(images: Tensor, draws: Draws, jitter: tuple[float, float, float]) -> Tensor:
    """(B, C, H, W) in 0..255 -> brightness, contrast and saturation changed, in 0..1 before clipping.

    Brightness b scales; contrast c blends with the image's mean grey; saturation s blends with each pixel's grey. All
    three are linear in the pixel, so together they are one colour matrix and one offset per sample:
    ``c b (s x + (1 - s) grey(x)) + (1 - c) b mean(grey)``.
    """
    channels = images.shape[1]
    luma = torch.tensor(_LUMA[channels], device=images.device)
    strengths = torch.tensor(jitter, device=images.device)
    b, c, s = (1 + strengths * (2 * draws.uniform("jitter", 3) - 1)).unbind(1)
    mean_grey = images.mean((2, 3)) @ luma
    mix = s[:, None, None] * torch.eye(channels, device=images.device) + (1 - s)[:, None, None] * luma
    matrix = (b * c / 255)[:, None, None] * mix
    offset = ((1 - c) * b * mean_grey / 255)[:, None, None]
    return torch.baddbmm(offset, matrix, images.flatten(2)).view_as(images)


def erased(draws: Draws, augmentation: Augmentation, size: tuple[int, int]) -> Tensor:
    """(B, 1, H, W) bool: True inside the rectangle to erase; all False where none is drawn."""
    u = draws.uniform("erase", 5)
    area = _between(u[:, 1], augmentation.erase_scale) * (size[0] * size[1])
    ratio = _log_between(u[:, 2], augmentation.erase_ratio)
    width = (area * ratio).sqrt().clamp(max=size[1])
    height = (area / ratio).sqrt().clamp(max=size[0])
    left, top = u[:, 3] * (size[1] - width), u[:, 4] * (size[0] - height)
    x = torch.arange(size[1], device=u.device) + 0.5
    y = torch.arange(size[0], device=u.device) + 0.5
    across = (x >= left[:, None]) & (x < (left + width)[:, None])
    down = (y >= top[:, None]) & (y < (top + height)[:, None])
    drawn = (u[:, 0] < augmentation.erase)[:, None, None]
    return (drawn & down[:, :, None] & across[:, None, :])[:, None]


def _between(u: Tensor, bounds: tuple[float, float]) -> Tensor:
    return bounds[0] + u * (bounds[1] - bounds[0])


def _log_between(u: Tensor, bounds: tuple[float, float]) -> Tensor:
    return torch.exp(_between(u, (math.log(bounds[0]), math.log(bounds[1]))))
