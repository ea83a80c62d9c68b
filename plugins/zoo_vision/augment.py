"""The training transform: random crop, flip, colours, blur and erasing, drawn per sample, computed per batch.

torchvision's tensor transforms draw one crop for a whole batch; here every sample has its own, from
:class:`zoo.protocols.Draws`, so a sample looks the same whatever batch or process it falls into.
The crop is Inception's (Szegedy et al. 2015, arXiv:1409.4842), erasing is Zhong et al. 2020 (arXiv:1708.04896); hue,
grey and blur are as in SimCLR (Chen et al. 2020, arXiv:2002.05709), solarisation as in BYOL (Grill et al. 2020,
arXiv:2006.07733).
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
_YIQ = (_LUMA[3], (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))
BLUR_SIDE = 224  # pixels of the images for which the width of a blur is given


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Ranges of the training transform.

    Attributes:
        crop_scale: share of the canvas' area that a crop covers, drawn uniformly.
        crop_ratio: width / height of a crop, drawn uniformly in its logarithm. A side longer than the canvas is cut.
        flip: probability of a horizontal flip.
        jitter: strengths of brightness, contrast and saturation: factors are uniform in 1 - s .. 1 + s.
        hue: largest turn of the colour circle, as a share of it.
        jitter_share: probability that an image's colours are jittered at all.
        grey: probability of losing all colour.
        blur: probability of a Gaussian blur.
        blur_sigma: its standard deviation in pixels of an image 224 pixels high, drawn uniformly.
        solarise: probability of inverting what is brighter than half.
        erase: probability of replacing a rectangle with the mean colour.
        erase_scale, erase_ratio: its share of the area, and its width / height.

    Raises:
        UsageError: a range that is empty or outside its meaning.
    """

    crop_scale: tuple[float, float] = (0.35, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: tuple[float, float, float] = (0.2, 0.2, 0.2)
    hue: float = 0.0
    jitter_share: float = 1.0
    grey: float = 0.0
    blur: float = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarise: float = 0.0
    erase: float = 0.0
    erase_scale: tuple[float, float] = (0.02, 0.2)
    erase_ratio: tuple[float, float] = (0.3, 3.3)

    def __post_init__(self) -> None:
        for name in ("crop_scale", "erase_scale"):
            low, high = getattr(self, name)
            if not 0 < low <= high <= 1:
                _refuse(name, getattr(self, name), "two shares of the area in ascending order, in 0..1")
        for name in ("crop_ratio", "erase_ratio", "blur_sigma"):
            low, high = getattr(self, name)
            if not 0 < low <= high < math.inf:
                _refuse(name, getattr(self, name), "two positive numbers in ascending order")
        for name in ("flip", "jitter_share", "grey", "blur", "solarise", "erase"):
            if not 0 <= getattr(self, name) <= 1:
                _refuse(name, getattr(self, name), "a probability in 0..1")
        if len(self.jitter) != 3 or not all(0 <= strength <= 1 for strength in self.jitter):
            _refuse("jitter", self.jitter, "three strengths in 0..1")
        if not 0 <= self.hue <= 0.5:
            _refuse("hue", self.hue, "a share of the colour circle in 0..0.5")


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
        draws: uniform numbers, one row a sample; a stream for each of the transforms.
        size: (H, W).
        mean, std: (C, 1, 1) on the canvas' device, for values in 0..1.
    """
    # Under autocast the matrix product below would round colours to 8 bits of mantissa.
    with torch.autocast(canvas.device.type, enabled=False):
        left, top, width, height = crop_boxes(draws, augmentation, canvas.shape[2], canvas.shape[3])
        mirrored = draws.uniform("flip", 1)[:, 0] < augmentation.flip
        images = resample(canvas, left, top, width, height, mirrored, size)
        images = jitter_colours(images, draws, augmentation).clamp_(0, 1)
        if augmentation.blur > 0:
            images = blurred(images, draws, augmentation)
        if augmentation.solarise > 0:
            drawn = draws.uniform("solarise", 1)[:, 0] < augmentation.solarise
            images = torch.where(drawn[:, None, None, None] & (images >= 0.5), 1 - images, images)
        images = images.sub_(mean).div_(std)
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


def jitter_colours(images: Tensor, draws: Draws, augmentation: Augmentation) -> Tensor:
    """(B, C, H, W) in 0..255 -> brightness, contrast, saturation and hue changed, or grey, in 0..1 before clipping.

    Brightness b scales; contrast c blends with the image's mean grey; saturation s blends with each pixel's grey, which
    is all that is left where s is 0; hue turns the chroma plane of YIQ. All are linear in the pixel, so together they
    are one colour matrix and one offset per sample: ``c b R(s x + (1 - s) grey(x)) + (1 - c) b mean(grey)``.
    """
    channels = images.shape[1]
    luma = torch.tensor(_LUMA[channels], device=images.device)
    strengths = torch.tensor(augmentation.jitter, device=images.device)
    factors = 1 + strengths * (2 * draws.uniform("jitter", 3) - 1)
    turn = torch.zeros_like(factors[:, 0])
    if augmentation.hue > 0:
        turn = 2 * math.pi * augmentation.hue * (2 * draws.uniform("hue", 1)[:, 0] - 1)
    if augmentation.jitter_share < 1:
        drawn = draws.uniform("jittered", 1)[:, 0] < augmentation.jitter_share
        factors = torch.where(drawn[:, None], factors, torch.ones_like(factors))
        turn = torch.where(drawn, turn, torch.zeros_like(turn))
    b, c, s = factors.unbind(1)
    if augmentation.grey > 0:
        drawn = draws.uniform("grey", 1)[:, 0] < augmentation.grey
        s = torch.where(drawn, torch.zeros_like(s), s)
    mean_grey = images.mean((2, 3)) @ luma
    mix = s[:, None, None] * torch.eye(channels, device=images.device) + (1 - s)[:, None, None] * luma
    if augmentation.hue > 0 and channels == 3:
        mix = hue_matrices(turn) @ mix
    matrix = (b * c / 255)[:, None, None] * mix
    offset = ((1 - c) * b * mean_grey / 255)[:, None, None]
    return torch.baddbmm(offset, matrix, images.flatten(2)).view_as(images)


def hue_matrices(turn: Tensor) -> Tensor:
    """(B,) angles -> (B, 3, 3) matrices on RGB that turn the chroma of YIQ and keep the grey."""
    to_yiq = torch.tensor(_YIQ, device=turn.device)
    cos, sin, one, zero = turn.cos(), turn.sin(), torch.ones_like(turn), torch.zeros_like(turn)
    rotation = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], dim=1).view(-1, 3, 3)
    return torch.linalg.inv(to_yiq) @ rotation @ to_yiq


def blurred(images: Tensor, draws: Draws, augmentation: Augmentation) -> Tensor:
    """(B, C, H, W) with a Gaussian blur of its own for each sample that one is drawn for; edges are repeated."""
    batch, channels, height, width = images.shape
    u = draws.uniform("blur", 2)
    scale = height / BLUR_SIDE
    sigma = _between(u[:, 1], augmentation.blur_sigma) * scale
    radius = min(math.ceil(3 * augmentation.blur_sigma[1] * scale), height - 1, width - 1)
    steps = torch.arange(-radius, radius + 1, device=images.device)
    kernel = torch.exp(-0.5 * (steps / sigma[:, None]).square())
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    kernel = torch.where(u[:, :1] < augmentation.blur, kernel, (steps == 0).to(kernel))
    # Every channel of every sample is a group of its own, so that one convolution holds all kernels.
    each = kernel.repeat_interleave(channels, dim=0)[:, None]
    planes = F.pad(images.reshape(1, batch * channels, height, width), (radius,) * 4, mode="replicate")
    planes = F.conv2d(planes, each[:, :, :, None], groups=batch * channels)
    return F.conv2d(planes, each[:, :, None, :], groups=batch * channels).view_as(images)


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
