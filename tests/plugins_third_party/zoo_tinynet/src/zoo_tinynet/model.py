"""The network and its backbone: nothing here but torch, zoo_registry and zoo.protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from zoo.protocols import Batch, Features, LayerGroups
from zoo_registry import InputSpec, ModelSpec, WeightsSpec


class TinyNet(nn.Module):
    """Two convolutions, each halving the side."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, 8, 3, stride=2, padding=1)
        self.body = nn.Conv2d(8, 16, 3, stride=2, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        return torch.relu(self.body(torch.relu(self.stem(image))))  # (B, 16, H/4, W/4)


class TinyBackbone(nn.Module):
    """A zoo.protocols.Backbone."""

    def __init__(self, spec: ModelSpec, input: InputSpec) -> None:
        super().__init__()
        self.spec, self.input, self.dim = spec, input, 16
        self.module: nn.Module = TinyNet(input.size[0])

    def forward(self, batch: Batch, layouts: Sequence[str] = ("pooled",)) -> Features:
        maps = self.module(batch["image"])
        pooled = maps.mean(dim=(2, 3))
        if not {"tokens", "grid"} & set(layouts):
            return Features(pooled=pooled)
        return Features(pooled=pooled, tokens=maps.flatten(2).transpose(1, 2), grid=(maps.shape[2], maps.shape[3]))

    def layer_groups(self) -> LayerGroups:
        named = list(self.named_parameters())
        return [(part, [item for item in named if item[0].startswith(f"module.{part}.")]) for part in ("stem", "body")]

    def example_inputs(self, batch_size: int = 2) -> Batch:
        return {"image": torch.zeros(batch_size, *self.input.size)}


def build(
    spec: ModelSpec,
    input: InputSpec,
    weights: WeightsSpec | None = None,
    state: Mapping[str, Tensor] | None = None,
) -> TinyBackbone:
    """The builder that the ModelSpec names."""
    backbone = TinyBackbone(spec, input)
    if state is not None:
        backbone.module.load_state_dict(dict(state))
    return backbone
