"""A trained run behind the same small interface as an export: decode, then run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoo.trained import load_trained
from zoo_registry.registry import Registry


class TorchModel:
    """A run folder, its ``model/`` folder or one of its checkpoints, on the best device of this machine.

    Args:
        path: the folder.
        registry: where the model's plugin is looked up; the default one if None.
        device: ``"cuda"``, ``"mps"`` or ``"cpu"``; chosen if None.

    Raises:
        UsageError: the folder holds no trained model.
        WeightsError: its files are damaged.
    """

    backend = "torch"

    def __init__(self, path: str | Path, *, registry: Registry | None = None, device: str | None = None) -> None:
        self.trained = load_trained(path, registry)
        self.task: str = self.trained.task.head.task
        self.labels = self.trained.labels
        self.meta = self.trained.meta
        self.pipeline = self.trained.pipeline
        self.device = torch.device(device or _best_device())
        self.module = self.trained.task.to(self.device).eval()

    def decode(self, item: Any) -> np.ndarray:
        """One raw item, as the pipeline decodes it.

        Raises:
            DataError: it cannot be decoded.
        """
        return self.pipeline.decode(item)

    @torch.inference_mode()
    def run(self, arrays: Sequence[np.ndarray] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Decoded arrays to (logits, scores), one row each, in float32."""
        stacked = torch.from_numpy(np.stack(list(arrays))).to(self.device)
        batch = self.pipeline.prepare({self.pipeline.input_name: stacked})
        logits = self.module.head(self.module.backbone(batch, self.module.head.uses))
        decoded = self.module.head.decode(logits, batch)
        scores = decoded["value"] if self.task == "regression" else decoded["scores"]
        return logits.float().cpu().numpy(), scores.float().cpu().numpy()


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
