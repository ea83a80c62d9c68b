"""Any two backbones as one model of pairs: each with a linear projection into a space that both share (Radford et al.,
"Learning transferable visual models from natural language supervision", 2021). B batch, D width of that space.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.pairs import side_of
from zoo.protocols import Backbone, Batch, Features, LayerGroups
from zoo_registry.specs import InputSpec, ModelSpec

TEMPERATURE = 0.07
HANDED_ON = ("dynamic_axes", "vocabulary", "input_embedding")
"""Capabilities of a backbone that hold for the tower made of it: what its pipeline and an export ask for."""


class Tower(nn.Module):
    """A backbone whose pooled vector is projected: a :class:`zoo.protocols.Backbone` of width D. Its vectors are not
    scaled to length 1; its other features are the backbone's own."""

    def __init__(self, backbone: Backbone, dim: int) -> None:
        super().__init__()
        self.backbone: Any = backbone
        self.projection = nn.Linear(backbone.dim, dim, bias=False)
        nn.init.normal_(self.projection.weight, std=backbone.dim**-0.5)
        self.spec, self.input, self.dim = backbone.spec, backbone.input, dim
        for name in HANDED_ON:
            if hasattr(backbone, name):
                setattr(self, name, getattr(backbone, name))

    @property
    def module(self) -> nn.Module:
        return nn.ModuleDict({"backbone": self.backbone.module, "projection": self.projection})

    def forward(self, batch: Batch, layouts: Sequence[str] = ("pooled",)) -> Features:
        """As the backbone, with ``pooled`` (B, D) projected."""
        features: Features = self.backbone(batch, layouts)
        return dataclasses.replace(features, pooled=self.projection(features.pooled))

    def layer_groups(self) -> LayerGroups:
        """The backbone's, then the projection."""
        inner = [
            (title, [(f"backbone.{name}", parameter) for name, parameter in members])
            for title, members in self.backbone.layer_groups()
        ]
        return [*inner, ("projection", [("projection.weight", self.projection.weight)])]

    def example_inputs(self, batch_size: int = 2) -> Batch:
        """The backbone's."""
        batch: Batch = self.backbone.example_inputs(batch_size)
        return batch


class DualBackbone(nn.Module):
    """A :class:`zoo.protocols.DualEncoder` over two backbones of different modalities.

    Args:
        first, second: the backbones, in the order in which the modality of their pairs names them.
        dim: D.
        spec, input: of the pair.

    Attributes:
        towers: modality -> :class:`Tower`.
        logit_scale: ln(1 / 0.07) at first.
        logit_bias: None until a loss that has one adds it (:meth:`add_bias`), or weights that have one are loaded.
    """

    def __init__(self, first: Backbone, second: Backbone, dim: int, spec: ModelSpec, input: InputSpec) -> None:
        super().__init__()
        self.spec, self.input, self.dim = spec, input, dim
        self.modalities = (first.input.modality, second.input.modality)
        self.towers: Any = nn.ModuleDict({inner.input.modality: Tower(inner, dim) for inner in (first, second)})
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / TEMPERATURE)))
        self.logit_bias: nn.Parameter | None
        self.register_parameter("logit_bias", None)

    @property
    def module(self) -> nn.Module:
        """All weights, named ``MODALITY.backbone.NAME``, ``MODALITY.projection.weight``, ``logit_scale`` and, where
        there is one, ``logit_bias``; NAME as in the original library's module."""
        return PairModule(self)

    def add_bias(self, value: float) -> None:
        """Give the logits a bias, or set the one they have."""
        if self.logit_bias is None:
            self.logit_bias = nn.Parameter(torch.zeros_like(self.logit_scale))
        with torch.no_grad():
            self.logit_bias.fill_(value)

    def encode(self, modality: str, batch: Batch) -> Tensor:
        """What a tower's pipeline prepares -> (B, D) float32 unit vectors."""
        return F.normalize(self.towers[modality](batch).pooled.float(), dim=-1)

    def forward(self, batch: Batch, layouts: Sequence[str] = ("pooled",)) -> Features:
        """A batch of pairs -> ``pooled`` (B, 2, D) unit vectors."""
        sides = [self.encode(modality, side_of(batch, modality)) for modality in self.modalities]
        return Features(torch.stack(sides, dim=1))

    def layer_groups(self) -> LayerGroups:
        """Of the first tower, of the second, then scale and bias of the logits."""
        groups: LayerGroups = []
        for modality, tower in self.towers.items():
            groups += [
                (f"{modality}: {title}", [(f"towers.{modality}.{name}", parameter) for name, parameter in members])
                for title, members in tower.layer_groups()
            ]
        named = (("logit_scale", self.logit_scale), ("logit_bias", self.logit_bias))
        return [*groups, ("logits", [(name, parameter) for name, parameter in named if parameter is not None])]

    def example_inputs(self, batch_size: int = 2) -> Batch:
        """Both sides' inputs, under ``MODALITY.NAME``."""
        return {
            f"{modality}.{name}": tensor
            for modality, tower in self.towers.items()
            for name, tensor in tower.example_inputs(batch_size).items()
        }

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        if f"{prefix}logit_bias" in state_dict and self.logit_bias is None:
            self.add_bias(0.0)
        super()._load_from_state_dict(state_dict, prefix, *rest)


class PairModule(nn.Module):
    """The weights of a :class:`DualBackbone` under names of the libraries they come from. It holds none of its own, so
    it is made anew whenever it is asked for."""

    def __init__(self, pair: DualBackbone) -> None:
        super().__init__()
        for modality, tower in pair.towers.items():
            self.add_module(modality, tower.module)
        self._pair = [pair]  # in a list: it is no part of this module
        self._take()

    def _take(self) -> None:
        (pair,) = self._pair
        self.register_parameter("logit_scale", pair.logit_scale)
        self.register_parameter("logit_bias", pair.logit_bias)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        if f"{prefix}logit_bias" in state_dict and self.logit_bias is None:
            self._pair[0].add_bias(0.0)
            self._take()
        super()._load_from_state_dict(state_dict, prefix, *rest)
