"""The convolutions in front of wav2vec 2.0 and its relatives, over torchaudio's modules: padding stays out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.models.wav2vec2.components import ConvLayerBlock

from zoo_audio.masked import masked_group_norm, real_frames


def receptive_field(blocks: Sequence[ConvLayerBlock]) -> int:
    """Samples that a frame is made of."""
    samples = 1
    for block in reversed(blocks):
        samples = (samples - 1) * block.stride + block.kernel_size
    return samples


def frame_counts(blocks: Sequence[ConvLayerBlock], length: Tensor) -> Tensor:
    """(B,) samples -> (B,) frames; what is shorter than one is filled up to it."""
    counts = length.clamp(min=receptive_field(blocks))
    for block in blocks:
        counts = _shortened(block, counts)
    return counts


def extract(blocks: Sequence[ConvLayerBlock], waveform: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T) waveform with ``length`` (B,) -> (B, N, E) frames and their mask (B, N).

    No padding is ever inside a real frame, since the convolutions add none; a group norm over time, which the base
    networks have behind the first, is told which frames are real.
    """
    receptive = receptive_field(blocks)
    # Always as much as the shortest clip needs: a length that decides on padding could not be exported.
    maps, counts = F.pad(waveform, (0, receptive - 1))[:, None], length.clamp(min=receptive)
    for block in blocks:
        maps, counts = block.conv(maps), _shortened(block, counts)
        if isinstance(block.layer_norm, nn.GroupNorm):
            maps = masked_group_norm(block.layer_norm, maps, real_frames(counts, maps.shape[2]))
        elif block.layer_norm is not None:
            maps = block.layer_norm(maps)
        maps = F.gelu(maps)
    return maps.transpose(1, 2), real_frames(counts, maps.shape[2])


def _shortened(block: ConvLayerBlock, counts: Tensor) -> Tensor:
    return torch.div(counts - block.kernel_size, block.stride, rounding_mode="floor") + 1
