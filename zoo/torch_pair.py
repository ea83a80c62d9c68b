"""A model of pairs, by name or out of a pretraining run, behind the interface that its export has too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from zoo.protocols import Batch, DualEncoder, Paired, Pipeline
from zoo.serve_audio import Parts, hear_vectors, windows_for
from zoo.torch_model import batch_of, best_device
from zoo.trained import input_dict, pipeline_for
from zoo.weights import load_backbone
from zoo_registry.errors import PluginError

if TYPE_CHECKING:
    from zoo_registry.registry import Registry

AT_ONCE = 32
"""Inputs of one forward pass."""


class TorchPair:
    """Both towers in evaluation mode: a :class:`zoo.zeroshot.Pair`.

    Args:
        dual: the backbone.
        pipeline: of its pairs.
        meta: what is known of it; completed with ``preprocessing``.
        device: ``"cuda"``, ``"mps"`` or ``"cpu"``; chosen if None.
    """

    backend = "torch"

    def __init__(self, dual: DualEncoder, pipeline: Paired, meta: dict[str, Any], *, device: str | None = None) -> None:
        self.device = torch.device(device or best_device())
        backbone: Any = dual
        self.dual: DualEncoder = backbone.to(self.device).eval()
        self.modalities = dual.modalities
        self.pipelines: dict[str, Pipeline] = dict(zip(dual.modalities, pipeline.parts, strict=True))
        described = {modality: part.describe() for modality, part in self.pipelines.items()}
        self.meta = {**meta, "preprocessing": {"kind": "pair", "parts": described}}
        self.scale = float(dual.logit_scale.detach().exp())
        self.bias = 0.0 if dual.logit_bias is None else float(dual.logit_bias.detach())

    def decode(self, modality: str, item: Any) -> np.ndarray:
        """As the side's pipeline does."""
        return self.pipelines[modality].decode(item)

    def parts(self, modality: str) -> Parts | None:
        """Windows of long recordings; None for other sides."""
        return windows_for(self.pipelines[modality].describe()) if modality == "audio" else None

    def encode(self, modality: str, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Decoded items of a side -> (B, D) float32 unit vectors."""
        if (parts := self.parts(modality)) is not None:
            return hear_vectors(parts, arrays, lambda some: self._forward(modality, some))
        # Those of like length together: what is padding costs time.
        order = sorted(range(len(arrays)), key=lambda row: len(arrays[row]))
        found: dict[int, np.ndarray] = {}
        for start in range(0, len(order), AT_ONCE):
            rows = order[start : start + AT_ONCE]
            found.update(zip(rows, self._forward(modality, [arrays[row] for row in rows]), strict=True))
        return np.stack([found[row] for row in range(len(arrays))])

    def batch(self, modality: str, arrays: Sequence[np.ndarray]) -> Batch:
        """Decoded items as the side's tower takes them."""
        pipeline = self.pipelines[modality]
        made = {**batch_of(pipeline, arrays), "index": torch.arange(len(arrays))}
        return pipeline.prepare({name: tensor.to(self.device) for name, tensor in made.items()})

    @torch.inference_mode()
    def _forward(self, modality: str, arrays: Sequence[np.ndarray]) -> np.ndarray:
        return self.dual.encode(modality, self.batch(modality, arrays)).float().cpu().numpy()


def open_torch_pair(
    target: str, registry: Registry, *, weights: str | None = None, device: str | None = None
) -> TorchPair:
    """Build a model of pairs and load its weights.

    Args:
        target: its name, or ``name@tag``.
        weights: a run of it, or its ``model/`` folder; None: its own.

    Raises:
        ZooError: as :func:`zoo.weights.load_backbone`.
        PluginError: the model says that it has towers, and gives no vectors of them.
    """
    loaded = load_backbone(target, weights=weights, registry=registry)
    pipeline = pipeline_for(loaded.model_id, loaded.input, registry, backbone=loaded.backbone)
    if not isinstance(loaded.backbone, DualEncoder) or not isinstance(pipeline, Paired):
        raise PluginError(f"{loaded.model_id} names towers, but is no DualEncoder.", f"Report it to {loaded.plugin}.")
    meta = {
        "model_id": loaded.model_id,
        "weights_id": loaded.weights_id,
        "weights_sha256": loaded.sha256,
        "plugin": loaded.plugin,
        "plugin_version": loaded.plugin_version,
        "input": input_dict(loaded.input),
        **_trained_on(weights),
    }
    return TorchPair(loaded.backbone, pipeline, meta, device=device)


def _trained_on(run: str | None) -> dict[str, Any]:
    """What a run's model folder says that building the model does not."""
    for folder in (Path(run), Path(run, "model")) if run else ():
        if (file := folder / "model.json").is_file():
            meta: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            kept = {"weights_id": meta.get("weights_id"), "weights_sha256": meta.get("weights_sha256")}
            trained = {"trained_sha256": meta.get("sha256", {}), "objective": meta.get("objective")}
            return {**kept, **trained, "data": meta.get("data"), "metrics": meta.get("metrics") or {}}
    return {}
