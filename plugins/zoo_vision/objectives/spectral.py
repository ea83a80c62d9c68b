"""Spectral normalisation (Miyato et al., "Spectral normalization for generative adversarial networks", ICLR 2018,
arXiv:1802.05957) that leaves a network as its library made it.

torch's own replaces each weight by another parameter and a recipe, under other names. Here the network keeps its
weights, and its forward is called with each of them divided by its largest singular value. Since that makes the scale
of a weight meaningless, each is scaled to a largest singular value of 1 after each step: the division is then by 1, and
the weights that are saved are those that were used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd

FIRST_ROUNDS = 15  # of power iteration, before training


class SpectralNorm(nn.Module):
    """Singular vectors of a network's linear and convolutional weights, as buffers, so that checkpoints hold them.

    They move in :meth:`after_step` alone: within a step every pass divides by the same function of the weights, in
    however many micro-batches it is taken.

    Args:
        network: not kept, but given to each method again.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.names = [
            f"{name}.weight" if name else "weight"
            for name, module in network.named_modules()
            if isinstance(module, nn.Linear | _ConvNd) and module.weight.requires_grad
        ]
        for number, (_, weight) in enumerate(self._weights(network)):
            self.register_buffer(f"left_{number}", F.normalize(torch.randn(weight.shape[0]), dim=0))
        for _ in range(FIRST_ROUNDS):
            self._iterate(network)

    def forward(self, network: nn.Module, *inputs: Any) -> Any:
        """What the network makes of its inputs with every weight divided by its largest singular value, through which
        there is a gradient too."""
        with torch.autocast(next(network.parameters()).device.type, enabled=False):
            divided = {
                name: weight / singular_value(weight, left)
                for (name, weight), left in zip(self._weights(network), self.buffers(), strict=True)
            }
        return functional_call(network, divided, inputs)

    @torch.no_grad()
    def after_step(self, network: nn.Module) -> None:
        """One round of power iteration, and each weight scaled to a largest singular value of 1."""
        self._iterate(network)
        for (_, weight), left in zip(self._weights(network), self.buffers(), strict=True):
            weight.div_(singular_value(weight, left))

    @torch.no_grad()
    def _iterate(self, network: nn.Module) -> None:
        for (_, weight), left in zip(self._weights(network), self.buffers(), strict=True):
            matrix = weight.flatten(1)
            left.copy_(F.normalize(matrix @ _right(matrix, left), dim=0))

    def _weights(self, network: nn.Module) -> Iterator[tuple[str, Tensor]]:
        return ((name, network.get_parameter(name)) for name in self.names)


def singular_value(weight: Tensor, left: Tensor) -> Tensor:
    """The largest singular value of ``weight`` (O, ...) as a matrix of O rows, from ``left`` (O,), about its left
    singular vector: (), with the gradient that it has where both vectors are constants."""
    matrix = weight.flatten(1)
    # A moving average of unit vectors is shorter than 1.
    left = F.normalize(left, dim=0)
    with torch.no_grad():
        right = _right(matrix, left)
    return (torch.dot(left, matrix @ right)).clamp(min=1e-12)


def _right(matrix: Tensor, left: Tensor) -> Tensor:
    return F.normalize(matrix.T @ left, dim=0)
