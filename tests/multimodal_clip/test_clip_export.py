"""Families of open_clip's networks build, run and export; torch and onnxruntime agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from clip_toys import FAMILIES, HUGGING, PADS, contract, record, shrunk, some_images, some_texts
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.exporting.trace import OPSET
from zoo.protocols import Batch
from zoo_multimodal.clip_backbone import build_clip

QUICK = ("vit", "coca")
LONG = [pytest.param(name, marks=pytest.mark.slow) for name in (*FAMILIES, "roberta", "nllb") if name not in QUICK]
# Sides that are the same network as another family's: run, but not traced once more.
AGAIN = {"text": ("quickgelu", "resnet", "convnext", "vitamin", "pe"), "image": ("metaclip2", "roberta", "nllb")}


class Unit(nn.Module):
    """A tower's vectors, scaled to length 1: the scale of random towers differs by orders of magnitude."""

    def __init__(self, tower: Any, names: list[str]) -> None:
        super().__init__()
        self.tower, self.names = tower, names

    def forward(self, *tensors: Tensor) -> Tensor:
        return F.normalize(self.tower(dict(zip(self.names, tensors, strict=True))).pooled, dim=-1)


def exported(tower: Any, file: Path) -> onnxruntime.InferenceSession:
    example: Batch = tower.example_inputs(2)
    axes = getattr(tower, "dynamic_axes", {"image": ("batch",)})
    dims: dict[str, Any] = {}
    dynamic = tuple(
        {place: dims.setdefault(axis, torch.export.Dim(axis)) for place, axis in enumerate(axes[name])}
        for name in example
    )
    program = torch.onnx.export(
        Unit(tower, list(example)).eval(),
        tuple(example.values()),
        dynamo=True,
        input_names=list(example),
        dynamic_shapes=(dynamic,),
        opset_version=OPSET,
        verbose=False,
    )
    assert program is not None
    program.save(str(file))
    return onnxruntime.InferenceSession(str(file))


@pytest.mark.parametrize("family", [*QUICK, *LONG])
def test_builds_runs_and_exports(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = shrunk(family, layers=1)
    input = contract(config)
    pair = build_clip(record(input), input, config=config, pad=PADS.get(family, 0)).eval()
    names = [name for _, members in pair.layer_groups() for name, _ in members]
    assert sorted(names) == sorted(name for name, p in pair.named_parameters() if p.requires_grad)
    words = 500 if family in HUGGING else 600
    batches = {"image": [some_images(n, input, n) for n in (1, 3)]}
    batches["text"] = [some_texts(n, length, words, n) for n, length in ((1, 5), (4, 11))]
    for modality, tower in pair.towers.items():
        with torch.no_grad():
            vectors = [pair.encode(modality, batch) for batch in batches[modality]]
        assert all(expected.abs().max() > 0.05 for expected in vectors)
        if family in AGAIN[modality]:
            continue
        session = exported(tower, tmp_path / f"{modality}.onnx")
        for batch, expected in zip(batches[modality], vectors, strict=True):
            (given,) = session.run(None, {name: tensor.numpy() for name, tensor in batch.items()})
            torch.testing.assert_close(torch.from_numpy(given), expected, atol=1e-4, rtol=1e-4)
