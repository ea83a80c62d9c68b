"""Small networks over sound, and their export, for the tests of the audio plugin's networks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from zoo.exporting.trace import trace
from zoo.heads import ClassificationHead
from zoo.tasks import SupervisedTask
from zoo_audio.scratch_list import SCRATCH_MODELS
from zoo_registry.builders import load_builder
from zoo_registry.specs import InputSpec

INPUT = InputSpec(modality="audio", rate=8000, seconds=1.0)
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "conformer": {"dim": 16, "heads": 2, "layers": 2, "feed": 32, "kernel": 5, "mels": 20},
    "emformer": {"dim": 16, "heads": 2, "layers": 2, "feed": 32, "segment": 4, "left": 6, "right": 2, "mels": 20},
    "wavenet": {"residual": 4, "dim": 8, "dilations": [1, 2, 4, 8], "kernel": 2},
}


def network(name: str, *, seed: int = 0, state: Any = None, **options: Any) -> Any:
    """A scratch model of the list, made small; ``options`` on top."""
    torch.manual_seed(seed)
    spec = next(spec for spec in SCRATCH_MODELS if spec.name == name)
    return load_builder(spec.builder)(spec, INPUT, None, state, **{**OPTIONS[name], **options})


def exported(backbone: Any, path: Path) -> tuple[SupervisedTask, onnxruntime.InferenceSession]:
    """A task of three classes on the backbone, and its graph at work."""
    task = SupervisedTask(backbone, ClassificationHead(backbone.dim, ("a", "b", "c"))).eval()
    torch.nn.init.normal_(task.head.linear.weight, std=0.3)
    trace(task, path / "model.onnx", "toy")
    return task, onnxruntime.InferenceSession(path / "model.onnx")


def difference(task: SupervisedTask, session: onnxruntime.InferenceSession, batch: Mapping[str, Tensor]) -> float:
    """Largest difference between torch's logits and the graph's."""
    (found,) = session.run(["logits"], {name: batch[name].numpy() for name in ("waveform", "length")})
    with torch.no_grad():
        expected = task.export_module()(batch["waveform"], batch["length"]).numpy()
    return float(np.abs(found - expected).max())


def grouped(backbone: Any) -> list[str]:
    """The parameters' names, group by group."""
    return [name for _, members in backbone.layer_groups() for name, _ in members]
