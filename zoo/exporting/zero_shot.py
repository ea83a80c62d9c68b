"""A model of pairs as an ordinary classifier: the tower that is not of texts, and the vectors of the labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.data.dataset import Table
from zoo.exporting.pair_samples import samples_of
from zoo.exporting.samples import Samples
from zoo.heads import ClassificationHead
from zoo.pair_targets import open_zero_shot
from zoo.protocols import Features
from zoo.tasks import SupervisedTask
from zoo.torch_model import TorchModel
from zoo.torch_pair import TorchPair
from zoo.trained import Trained, input_dict
from zoo.zeroshot import ZeroShot
from zoo_registry.registry import Registry
from zoo_registry.specs import InputSpec


class FixedLabels(ClassificationHead):
    """``forward`` (B, D) -> logits (B, C) = scale * cosine with each class + bias.

    Args:
        start: the classifier whose classes these are.
    """

    def __init__(self, start: ZeroShot) -> None:
        super().__init__(start.classes.shape[1], start.labels)
        with torch.no_grad():
            self.linear.weight.copy_(start.pair.scale * torch.from_numpy(start.classes))
            self.linear.bias.fill_(start.pair.bias)

    def forward(self, features: Features) -> Tensor:
        return self.linear(F.normalize(features.pooled.float(), dim=-1))


def zero_shot_model(
    target: str | Path, labels: Sequence[str], templates: Sequence[str] | None, registry: Registry
) -> tuple[TorchModel, Samples]:
    """The classifier on the CPU, and what its export is measured on: inputs of the run's validation split, or drawn.

    Raises:
        ZooError: as :func:`zoo.pair_targets.open_zero_shot`.
    """
    start = open_zero_shot(target, labels, templates, registry, device="cpu")
    pair = start.pair
    assert isinstance(pair, TorchPair)
    place = pair.modalities.index(start.side)
    described = InputSpec.from_dict(pair.meta["input"]).parts[place]
    pipeline = pair.pipelines[start.side]
    meta = {
        **pair.meta,
        "head": "zero-shot",
        "task": start.task,
        "labels": list(start.labels),
        "zero_shot": {"templates": list(start.templates), "logit_scale": pair.scale, "logit_bias": pair.bias},
        "input": input_dict(described),
        "input_name": pipeline.input_name,
        "preprocessing": pair.meta["preprocessing"]["parts"][start.side],
        "metrics": {},
        "sha256": pair.meta.get("trained_sha256") or {},
    }
    head: Any = FixedLabels(start)
    task = SupervisedTask(pair.dual.towers[start.side], head).eval()
    model = TorchModel(Trained(task, pipeline, start.labels, meta), device="cpu")
    samples = samples_of(target, pair.modalities, registry)
    return model, Samples(Table({"input": samples.items[place]}), samples.name)
