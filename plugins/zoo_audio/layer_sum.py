"""Heads on a learned mixture of a backbone's layers: what a task needs often lies in the middle ones.

Yang et al., "SUPERB: Speech processing Universal PERformance Benchmark", 2021 (s3prl's featurizer).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo.heads import ClassificationHead, MultiLabelHead, RegressionHead
from zoo.protocols import Features
from zoo_audio.masked import masked_mean
from zoo_registry.errors import UsageError

MOST = 64
"""Layers that a mixture has weights for. A head is built before it sees a backbone's layers; weights that are left over
take no part."""


class LayerSum(nn.Module):
    """The mean over real frames of sum_l softmax(w)_l * layer_l, equal weights to begin with. ``forward`` L layers
    (B, N, D) with a mask (B, N), or None where all is real, -> (B, D).

    Args:
        dim: D.

    Attributes:
        weight: (64,), of which the first L are w.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.weight = nn.Parameter(torch.zeros(MOST))

    def forward(self, layers: Sequence[Tensor] | None, mask: Tensor | None) -> Tensor:
        """
        Raises:
            UsageError: the backbone gives no layers, too many, or layers of other widths than its features.
        """
        if not layers or len(layers) > MOST or any(layer.shape[-1] != self.dim for layer in layers):
            raise UsageError(
                f"A sum of layers needs 1 to {MOST} of them, all as wide as the features ({self.dim}).",
                "Choose a wav2vec 2.0, HuBERT or WavLM model, or a head on pooled features.",
            )
        # The mean of a sum is the sum of means, which are a hundredth of the size.
        means = [layer.mean(1) if mask is None else masked_mean(layer, mask) for layer in layers]
        share = self.weight[: len(layers)].softmax(0)
        return (torch.stack(means, dim=1) * share[:, None]).sum(1)


class _OnLayers:
    """Turns a head on pooled features into one on their mixture over layers."""

    uses = ("layers",)

    def __init__(self, dim: int, labels: tuple[str, ...] = (), **options: Any) -> None:
        super().__init__(dim, labels, **options)  # type: ignore[call-arg]
        self.layer_sum = LayerSum(dim)

    def forward(self, features: Features) -> Tensor:
        mixed = self.layer_sum(features.layers, features.mask)
        return super().forward(dataclasses.replace(features, pooled=mixed))  # type: ignore[misc]


class LayersClassificationHead(_OnLayers, ClassificationHead):
    """One label of C, from all layers; otherwise as :class:`zoo.heads.ClassificationHead`."""


class LayersMultiLabelHead(_OnLayers, MultiLabelHead):
    """Any number of C labels, from all layers; otherwise as :class:`zoo.heads.MultiLabelHead`."""


class LayersRegressionHead(_OnLayers, RegressionHead):
    """One number, from all layers; otherwise as :class:`zoo.heads.RegressionHead`."""
