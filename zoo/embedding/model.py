"""What embeds: the pooled features of a backbone, or the vectors of a head that was trained to give some."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoo.console import say
from zoo.engine.runtime import Runtime
from zoo.protocols import Backbone, DualEncoder, Paired, Pipeline
from zoo.run import versions
from zoo.serve_audio import hear_vectors, windows_for
from zoo.serve_model import is_export
from zoo.torch_model import batch_of
from zoo.trained import load_trained, pipeline_for
from zoo.weights import load_backbone
from zoo.weights.hashes import sha256_of
from zoo_registry.errors import PluginError, UsageError
from zoo_registry.registry import Registry, ResolvedModel

VECTORS = ("embedding", "speaker-verification")
"""Tasks whose heads give unit vectors."""

MARKS = ("manifest.json", "model.json", "state.json")
"""A file that tells a run, a model folder or a checkpoint from a folder that happens to have a model's name."""


@dataclass(frozen=True)
class Embedder:
    """A model that gives one vector an input.

    Attributes:
        model_id, weights, sha256: which model, its weights as named, and their hash (None for random ones).
        pipeline: turns raw inputs into batches.
        backbone: on its device, in evaluation mode.
        head: a trained head that gives vectors, or None.
        requires: packages whose versions decide the vectors.
        dim: width of the vectors.
        tower: modality of the side of a model of pairs that ``backbone`` is; empty for other models.
    """

    model_id: str
    weights: str
    sha256: str | None
    pipeline: Pipeline
    backbone: Backbone
    head: Any
    runtime: Runtime
    requires: tuple[str, ...]
    dim: int
    tower: str = ""

    def describe(self) -> dict[str, Any]:
        """Everything that decides a vector but the input, as JSON values."""
        return {
            "model": self.model_id,
            "weights": self.weights,
            "sha256": self.sha256,
            "vector": self._vector(),
            "preprocessing": self.pipeline.describe(),
            "device": self.runtime.device.type,
            "precision": self.runtime.precision,
            "versions": versions(*self.requires),
        }

    def _vector(self) -> str:
        if self.tower:
            return f"{self.tower} tower, projected"
        return "pooled features" if self.head is None else f"{self.head.task} head"

    def run(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Decoded inputs to (B, D) float32; of long recordings the mean over their windows, made a unit vector again
        where a head gives such."""
        if self.pipeline.modality != "audio":
            return self._forward(arrays)

        # A mean is decoded as speaker vectors are, or not at all.
        task = "regression" if self.head is None else self.head.task
        return hear_vectors(windows_for(self.pipeline.describe()), arrays, self._forward, task)

    @torch.inference_mode()
    def _forward(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        batch = self.pipeline.prepare(self.runtime.to_device(batch_of(self.pipeline, arrays)))
        with self.runtime.autocast(self.runtime.precision):
            features = self.backbone(batch, ("pooled",))
            vectors = features.pooled if self.head is None else self.head(features)
        # An embedding head's pipeline holds several texts a sample; here there is one.
        return (vectors[:, 0] if vectors.dim() == 3 else vectors).float().cpu().numpy()


def open_embedder(
    model: str,
    *,
    registry: Registry,
    max_length: int | None = None,
    device: str | None = None,
    precision: str = "fp32",
    tower: str | None = None,
) -> Embedder:
    """A model name with its pretrained weights, or what a training left: a run, a checkpoint or a model folder. One
    trained with a head of :data:`VECTORS` gives that head's unit vectors, every other its backbone's pooled features. A
    model of pairs, or a pretraining run of one, gives the vectors of one side, projected into the space of both.

    Args:
        tower: modality of that side; None: the first, which is said.
        max_length: longest text in tokens; of what was trained no more than in training.

    Raises:
        UnknownName: no such model.
        WeightsError: the weights cannot be had or are damaged.
        UsageError: an export, an unfinished run, a length that the model cannot take, or a tower that it has not.
    """
    runtime = Runtime.create(precision, device)
    path = Path(model)
    if is_export(path):
        raise UsageError(
            f"{path} is an export, which gives answers rather than vectors.", "Give the run it was exported from."
        )
    folder = any((path / mark).is_file() for mark in MARKS)
    meta = _meta(path) if folder else {}
    name = meta.get("model_id", "" if folder else model)
    resolved = registry.model(name) if name else None
    if resolved and resolved.spec.towers:
        made = _side(resolved, str(path) if folder else None, model, tower, registry, max_length, runtime)
    elif tower is not None:
        raise UsageError(f"{name or path} is no model of pairs, so it has no towers.", "Leave --tower out.")
    elif folder and ((path / "state.json").is_file() or meta.get("task") in VECTORS):
        made = _trained(path, registry, max_length, runtime)
    else:
        weights = str(path) if folder else None
        loaded = load_backbone(meta.get("model_id", model), weights=weights, registry=registry, max_length=max_length)
        made = Embedder(
            loaded.model_id,
            loaded.weights_id,
            loaded.sha256,
            pipeline_for(loaded.model_id, loaded.input, registry),
            loaded.backbone,
            None,
            runtime,
            registry.model(loaded.model_id).spec.requires,
            loaded.backbone.dim,
        )
    backbone: Any = made.backbone
    backbone.to(runtime.device).eval()
    return made


def _side(
    pair: ResolvedModel,
    weights: str | None,
    model: str,
    tower: str | None,
    registry: Registry,
    max_length: int | None,
    runtime: Runtime,
) -> Embedder:
    """One side of a model of pairs."""
    sides = tuple(pair.spec.towers)
    if tower is not None and tower not in sides:
        raise UsageError(f"{pair.id} has no {tower} tower.", f"Its towers: {' and '.join(sides)}.")
    side = tower or sides[0]
    if tower is None:
        say(f"model: the {side} tower of {pair.id} (--tower {sides[1]} for the other)")
    if max_length is not None and side != "text":
        raise UsageError(f"The {side} tower takes no texts, so it has no longest text.", "Leave --max-length out.")
    loaded = load_backbone(pair.id if weights else model, weights=weights, registry=registry, max_length=max_length)
    dual, pipeline = loaded.backbone, pipeline_for(pair.id, loaded.input, registry)
    if not isinstance(dual, DualEncoder) or not isinstance(pipeline, Paired):
        raise PluginError(f"{pair.id} names towers, but is no DualEncoder.", f"Report it to {loaded.plugin}.")
    return Embedder(
        loaded.model_id,
        loaded.weights_id,
        loaded.sha256,
        pipeline.parts[dual.modalities.index(side)],
        dual.towers[side],
        None,
        runtime,
        pair.spec.requires,
        dual.towers[side].dim,
        side,
    )


def _meta(path: Path) -> dict[str, Any]:
    for folder in (path, path / "model"):
        if (folder / "model.json").is_file():
            try:
                return json.loads((folder / "model.json").read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise UsageError(
                    f"{folder / 'model.json'} cannot be read: {error}.", "Give a zoo run or model folder."
                ) from error
    return {}


def _trained(path: Path, registry: Registry, max_length: int | None, runtime: Runtime) -> Embedder:
    trained = load_trained(path, registry)
    model_id, head = trained.meta["model_id"], trained.task.head
    own = head.task in VECTORS
    taken = _shortened(trained.task.backbone.input, max_length, model_id)
    pipeline = pipeline_for(model_id, taken, registry, trained.meta["head"] if own else None)
    if (path / "state.json").is_file():
        sha256: str | None = sha256_of(path / "model.safetensors")
    else:
        sha256 = trained.meta.get("sha256", {}).get("backbone.safetensors")
    requires = registry.model(model_id).spec.requires
    backbone = trained.task.backbone
    dim = _width(backbone, head) if own else backbone.dim
    return Embedder(model_id, str(path), sha256, pipeline, backbone, head if own else None, runtime, requires, dim)


@torch.inference_mode()
def _width(backbone: Backbone, head: Any) -> int:
    return int(head(backbone(backbone.example_inputs(1), ("pooled",))).shape[-1])


def _shortened(input: Any, max_length: int | None, model_id: str) -> Any:
    if max_length is None:
        return input
    if len(input.size) != 1:
        raise UsageError(f"{model_id} takes no texts, so it has no longest text.", "Leave --max-length out.")
    if not 0 < max_length <= input.size[0]:
        raise UsageError(
            f"The model was trained on texts of at most {input.size[0]} tokens, not {max_length}.",
            f"Give a --max-length of {input.size[0]} or less.",
        )
    return dataclasses.replace(input, size=(max_length,))
