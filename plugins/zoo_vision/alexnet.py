"""AlexNet through torchvision: the network that started it, as a :class:`zoo.protocols.Backbone`.

Krizhevsky, "One weird trick for parallelizing convolutional neural networks" (arXiv 1404.5997), which is the variant
torchvision ships.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torchvision.models import alexnet

from zoo.protocols import Batch, Features, LayerGroups
from zoo.weights.fit import load_strictly
from zoo_registry.specs import InputSpec, ModelSpec, WeightsSpec
from zoo_vision.groups import named_groups

CLASSIFIER = "classifier.6"


def build_alexnet(
    spec: ModelSpec,
    input: InputSpec,
    weights: WeightsSpec | None = None,
    state: Mapping[str, Tensor] | None = None,
    *,
    dropout: float = 0.5,
) -> AlexNet:
    """Build AlexNet up to its last hidden layer.

    Args:
        spec, input, weights: records; images of at least 63 pixels a side.
        state: torchvision's checkpoint with its classifier, or the state dict of a headless module; None: random.
        dropout: before each of the two hidden layers.

    Raises:
        WeightsError: a tensor other than the classifier's is missing, left over or of another shape.
    """
    module = alexnet(weights=None, dropout=dropout)
    module.classifier = module.classifier[:-1]
    if state is not None:
        body = {k: v for k, v in state.items() if k not in {f"{CLASSIFIER}.weight", f"{CLASSIFIER}.bias"}}
        load_strictly(module, body, spec.name)
    return AlexNet(module, spec, input)


class AlexNet(nn.Module):
    """Headless AlexNet: pooled (B, 4096), tokens (B, H'*W', 256), layers: one map after each of five convolutions."""

    dim = 4096

    def __init__(self, module: nn.Module, spec: ModelSpec, input: InputSpec) -> None:
        super().__init__()
        self.module = module
        self.spec = spec
        self.input = input

    def forward(self, batch: Batch, layouts: Sequence[str] = ("pooled",)) -> Features:
        """``batch["image"]`` (B, C, H, W), normalised -> Features."""
        maps = batch["image"]
        layers = []
        for layer in self.module.features:  # type: ignore[union-attr]
            maps = layer(maps)
            if "layers" in layouts and isinstance(layer, nn.ReLU):
                layers.append(maps.flatten(2).transpose(1, 2))
        pooled = self.module.classifier(torch.flatten(self.module.avgpool(maps), 1))  # type: ignore[operator]
        spatial = "tokens" in layouts or "grid" in layouts
        return Features(
            pooled=pooled,
            tokens=maps.flatten(2).transpose(1, 2) if spatial else None,
            grid=(maps.shape[2], maps.shape[3]) if spatial else None,
            layers=tuple(layers) or None,
        )

    def layer_groups(self) -> LayerGroups:
        """One group a layer, in order: five convolutions, two hidden layers."""
        names = list(dict.fromkeys(name.rsplit(".", 1)[0] for name, _ in self.module.named_parameters()))
        return named_groups(
            [
                (f"module.{name}", parameter, names.index(name.rsplit(".", 1)[0]))
                for name, parameter in self.module.named_parameters()
            ]
        )

    def example_inputs(self, batch_size: int = 2) -> Batch:
        """``{"image": (batch_size, C, H, W)}`` zeros."""
        return {"image": torch.zeros(batch_size, *self.input.size)}
