"""Plain Vision Transformers on some of an image's patches alone."""

from __future__ import annotations

from typing import Any

import torch
from timm.layers import PatchEmbed
from timm.models import checkpoint_seq
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn


def takes_single_patches(module: nn.Module) -> bool:
    """Whether each token is made of one patch and its place alone, and blocks take any number of them: a plain ViT, not
    one with a convolutional stem or positions inside its blocks."""
    plain = type(module) in (VisionTransformer, VisionTransformerDistilled)
    return plain and type(module.patch_embed) is PatchEmbed


def encode_visible(module: Any, image: Tensor, visible: Tensor) -> Tensor:
    """See :meth:`zoo.protocols.PatchMaskable.encode_visible`."""
    prefix = module.num_prefix_tokens
    tokens = module.norm_pre(module._pos_embed(module.patch_embed(image)))
    chosen = tokens[:, prefix:].gather(1, visible[..., None].expand(-1, -1, tokens.shape[2]))
    tokens = torch.cat([tokens[:, :prefix], chosen], dim=1)
    tokens = checkpoint_seq(module.blocks, tokens) if module.grad_checkpointing else module.blocks(tokens)
    found: Tensor = module.norm(tokens)
    return found
