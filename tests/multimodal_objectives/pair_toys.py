"""Tiny real towers and batches of pairs for the tests here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from zoo.protocols import Features
from zoo_multimodal.dual_backbone import DualBackbone
from zoo_registry.specs import InputSpec, ModelSpec


class Flat(nn.Module):
    """A backbone over rows of numbers."""

    def __init__(self, modality: str, inputs: int, dim: int = 6, norm: bool = False) -> None:
        super().__init__()
        self.input = InputSpec(modality=modality, size=(inputs,))
        self.spec = ModelSpec(name=f"flat-{modality}", builder="", pipeline="", input=self.input)
        self.name, self.dim = {"image": "image", "text": "input_ids", "audio": "waveform"}[modality], dim
        body = [nn.Linear(inputs, dim), *([nn.BatchNorm1d(dim)] if norm else []), nn.Tanh()]
        self.module = nn.Sequential(*body)

    def forward(self, batch: dict[str, Tensor], layouts: Any = ("pooled",)) -> Features:
        pooled = self.module(batch[self.name])
        return Features(pooled, tokens=pooled[:, None])

    def layer_groups(self) -> Any:
        return [("body", [(f"module.{key}", parameter) for key, parameter in self.module.named_parameters()])]

    def example_inputs(self, batch_size: int = 2) -> dict[str, Tensor]:
        return {self.name: torch.zeros(batch_size, self.input.size[0])}


def dual(sides: tuple[str, str] = ("image", "text"), dim: int = 5, norm: bool = False) -> DualBackbone:
    torch.manual_seed(0)
    parts = Flat(sides[0], 7, norm=norm), Flat(sides[1], 4)
    pair = InputSpec(modality="-".join(sides), parts=tuple(part.input for part in parts))
    spec = ModelSpec(name="dual/flat", builder="", pipeline="", input=pair)
    return DualBackbone(*parts, dim=dim, spec=spec, input=pair)


def batch(rows: int = 6, seed: int = 0, sides: tuple[str, str] = ("image", "text")) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    names = {"image": "image.image", "text": "text.input_ids", "audio": "audio.waveform"}
    return {
        names[sides[0]]: torch.randn(rows, 7, generator=draw),
        names[sides[1]]: torch.randn(rows, 4, generator=draw),
        "index": torch.arange(rows),
        "label": torch.zeros(rows, dtype=torch.long),
        "keys": torch.arange(2 * rows).view(rows, 2),
    }


def config(**options: Any) -> Any:
    return SimpleNamespace(seed=0, options=options)
