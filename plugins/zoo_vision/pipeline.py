"""Images to tensors: decoded once to a uint8 canvas, then cropped or augmented per batch on the device."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo import images
from zoo.protocols import Batch, Draws
from zoo_registry.specs import InputSpec
from zoo_vision.augment import Augmentation, augment_images


class ImagePipeline:
    """A :class:`zoo.protocols.Pipeline` for one image input contract.

    ``decode`` gives the uint8 canvas (C, SH, SW) of :mod:`zoo.images`; ``prepare`` on it equals timm's evaluation
    transform; ``augment`` draws a random crop of it, flips and jitters (:mod:`zoo_vision.augment`). Both return
    ``image`` as float32 (B, C, H, W).

    Args:
        input_spec: size (already the wanted one), normalisation and crop rule.
        augmentation: ranges of the training transform.

    Raises:
        PluginError: the spec is no usable image contract.
    """

    modality = "image"
    input_name = "image"
    dtype: np.dtype[Any] = np.dtype(np.uint8)

    def __init__(self, input_spec: InputSpec, augmentation: Augmentation | None = None) -> None:
        self.input = images.check_spec(input_spec)
        self.augmentation = augmentation or Augmentation()
        self.shape: tuple[int, ...] = (input_spec.size[0], *images.canvas_size(input_spec))

    @property
    def key(self) -> str:
        """Normalisation is not part of it: models that differ only there share a decoded cache."""
        spec = self.input
        described = [list(spec.size), images.resize_target(spec), spec.crop_mode, spec.interpolation]
        return f"image/v{images.VERSION}/{json.dumps([*described, images.border_fill(spec)], separators=(',', ':'))}"

    def decode(self, item: Any) -> np.ndarray:
        """A path, bytes or ``{"bytes", "path"}`` record as uint8 (C, SH, SW).

        Raises:
            DataError: as :func:`zoo.images.open_image`.
        """
        return images.decode_image(item, self.input)

    def prepare(self, batch: Batch) -> Batch:
        """``image`` uint8 (B, C, SH, SW) -> float32 (B, C, H, W): centre crop, 0..1, normalised."""
        canvas = batch[self.input_name]
        top, left = images.canvas_margin(self.input)
        height, width = self.input.size[1:]
        mean, std = self._statistics(canvas.device)
        pixels = canvas[:, :, top : top + height, left : left + width].to(torch.float32)
        return {**batch, self.input_name: pixels.div_(255).sub_(mean).div_(std).contiguous()}

    def augment(self, batch: Batch, draws: Draws) -> Batch:
        """``image`` uint8 (B, C, SH, SW) -> float32 (B, C, H, W), varied per sample, normalised."""
        canvas = batch[self.input_name]
        height, width = self.input.size[1:]
        mean, std = self._statistics(canvas.device)
        varied = augment_images(canvas, draws, self.augmentation, (height, width), mean, std)
        return {**batch, self.input_name: varied}

    def describe(self) -> dict[str, Any]:
        """What :func:`zoo.images.load_image` needs to repeat decode and prepare without torch, bit for bit."""
        return images.describe_input(self.input)

    def _statistics(self, device: torch.device) -> tuple[Tensor, Tensor]:
        mean = torch.tensor(self.input.mean, dtype=torch.float32, device=device)[:, None, None]
        std = torch.tensor(self.input.std, dtype=torch.float32, device=device)[:, None, None]
        return mean, std


def image_pipeline(input_spec: InputSpec) -> ImagePipeline:
    """The pipeline of every image model, with the default augmentation.

    Raises:
        PluginError: the spec is no usable image contract.
    """
    return ImagePipeline(input_spec)
