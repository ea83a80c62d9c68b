"""Backbones that take images of another size besides the one they were built for."""

from __future__ import annotations

from typing import Any

import torch
from timm.layers import Format
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer

from zoo.evaluating import evaluating
from zoo_registry.errors import UsageError


def accept_size(backbone: Any, size: tuple[int, int]) -> None:
    """Make sure that images of ``size`` (height, width) can be taken in besides the backbone's own. Of a timm
    transformer with learnt positions these are then scaled to the image, as timm does under ``dynamic_img_size``.

    Raises:
        UsageError: the backbone takes only its own size.
    """
    module: Any = backbone.module
    if issubclass(type(module), VisionTransformer | Eva) and not module.dynamic_img_size:
        # What their constructors do under dynamic_img_size; weights stay what they are.
        module.dynamic_img_size = True
        module.patch_embed.strict_img_size = False
        module.patch_embed.flatten, module.patch_embed.output_fmt = False, Format.NHWC
    try:
        with evaluating(backbone):
            backbone({"image": torch.zeros(1, backbone.input.size[0], *size)})
    except (AssertionError, RuntimeError, ValueError, TypeError) as error:
        height, width = backbone.input.size[1:]
        raise UsageError(
            f"{backbone.spec.name} takes no small crops of {size[1]}x{size[0]} besides images of {width}x{height}: it "
            "lacks what timm calls dynamic_img_size, or cuts images into patches that do not fit.",
            f"Give another -O local_size=N ({height} always goes), choose a convolutional network or a plain ViT, or "
            "leave small crops out: -O local_views=0.",
        ) from error
