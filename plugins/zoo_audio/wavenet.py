"""WaveNet (van den Oord et al., "WaveNet: A Generative Model for Raw Audio", 2016, arXiv:1609.03499): gated dilated
causal convolutions over samples. B batch, T samples, R residual channels, D skip channels.

Sound enters as one mu-law companded value a sample (a scalar rather than a one-hot code), so that the network reads
waveforms and codes alike and a rounded code moves its features by as little as it moves the sound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo_audio.mulaw import CODES


def companded(waveform: Tensor) -> Tensor:
    """Samples in [-1, 1] -> mu-law values in [-1, 1], not rounded to codes."""
    mu = CODES - 1.0
    clipped = waveform.clamp(-1.0, 1.0)
    return clipped.sign() * torch.log1p(mu * clipped.abs()) / math.log1p(mu)


def values_of(codes: Tensor) -> Tensor:
    """Codes 0 to 255 -> the mu-law values in [-1, 1] that they stand for."""
    return codes.float() * (2 / (CODES - 1)) - 1


class WaveNet(nn.Module):
    """Values (B, T) -> what is known after each sample (B, D, T), and the logits of the next sample's code.

    Args:
        residual, dim, dilations, kernel: as of :func:`zoo_audio.wavenet_backbone.build_wavenet`.
    """

    def __init__(self, *, residual: int, dim: int, dilations: Sequence[int], kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.first = nn.Conv1d(1, residual, kernel)
        last = len(dilations) - 1
        self.layers: Any = nn.ModuleList(
            Layer(residual, dim, kernel, dilation, ends=number == last) for number, dilation in enumerate(dilations)
        )
        self.hidden = nn.Conv1d(dim, dim, 1)
        self.logits = nn.Conv1d(dim, CODES, 1)

    @property
    def receptive_field(self) -> int:
        """Samples that an output depends on, its own included."""
        return 1 + (self.kernel - 1) * (1 + sum(layer.dilation for layer in self.layers))

    def forward(self, values: Tensor, every: bool = False) -> list[Tensor]:
        """(B, T) -> [the network's output (B, D, T)], where ``every`` asks for it after the sum of the skip connections
        up to each layer. Column ``t`` follows from ``values[:, : t + 1]`` alone."""
        x = self.first(F.pad(values[:, None], (self.kernel - 1, 0)))
        maps: list[Tensor] = []
        for layer in self.layers:
            x, skip = layer(x)
            total = maps[-1] + skip if maps else skip
            maps = [*maps, total] if every else [total]
        output = F.relu(self.hidden(F.relu(maps[-1])))
        return [*maps, output] if every else [output]

    def start(self, batch: int) -> list[Tensor]:
        """The memory of :meth:`step` before the first of ``batch`` sounds' samples: what each convolution has seen."""
        like = self.first.weight
        spans = [(1, self.kernel - 1), *((layer.width, layer.span) for layer in self.layers)]
        return [like.new_zeros(batch, channels, span) for channels, span in spans]

    def step(self, value: Tensor, memory: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """One sample more: value (B,) -> the logits (B, 256) of the next one's code, and the new memory. As
        :meth:`forward` over all samples so far, without repeating any of it (Paine et al., "Fast WaveNet Generation
        Algorithm", 2016, arXiv:1611.09482)."""
        seen = torch.cat([memory[0], value[:, None, None]], dim=2)
        kept, x = [seen[:, :, 1:]], self.first(seen)
        total = x.new_zeros(())
        for layer, past in zip(self.layers, memory[1:], strict=True):
            seen = torch.cat([past, x], dim=2)
            kept.append(seen[:, :, 1:])
            x, skip = layer.mix(layer.dilated(seen), x)
            total = total + skip
        return self.logits(F.relu(self.hidden(F.relu(total))))[:, :, 0], kept


class Layer(nn.Module):
    """A gated dilated causal convolution: x (B, R, T) -> the next layer's x, and the skip connection (B, D, T)."""

    def __init__(self, width: int, dim: int, kernel: int, dilation: int, *, ends: bool) -> None:
        super().__init__()
        self.width, self.dilation, self.span = width, dilation, (kernel - 1) * dilation
        self.dilated = nn.Conv1d(width, 2 * width, kernel, dilation=dilation)
        self.skip = nn.Conv1d(width, dim, 1)
        # Nothing comes after the last layer, so it has no residual connection to learn.
        self.residual = None if ends else nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.mix(self.dilated(F.pad(x, (self.span, 0))), x)

    def mix(self, maps: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The gate on the convolution's maps (B, 2 R, T), and both connections."""
        filtered, gate = maps.chunk(2, dim=1)
        gated = filtered.tanh() * gate.sigmoid()
        return x if self.residual is None else x + self.residual(gated), self.skip(gated)
