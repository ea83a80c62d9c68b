"""Features of a frozen backbone: computed once, kept on disk, keyed by everything that decides them."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from zoo.console import say
from zoo.data.batches import Eval
from zoo.engine.evaluate import collect
from zoo.engine.runtime import Runtime
from zoo.paths import cache_dir
from zoo.prepared import Prepared, forward_size
from zoo.protocols import Backbone, Batch


class ArrayStore:
    """An array as :class:`zoo.data.store.Rows`."""

    lengths: np.ndarray | None = None

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def take(self, rows: np.ndarray) -> np.ndarray:
        return self.array[rows]


class FeaturePipeline:
    """Features are ready to use: nothing to decode, nothing to vary."""

    modality = "features"
    dtype = np.dtype("float32")

    def __init__(self, field: str, shape: tuple[int, ...]) -> None:
        self.input_name = field
        self.shape = shape
        self.key = f"features/{field}/{shape}"

    def decode(self, item: np.ndarray) -> np.ndarray:
        return item

    def augment(self, batch: Batch, draws: object) -> Batch:
        return batch

    def prepare(self, batch: Batch) -> Batch:
        return batch

    def describe(self) -> dict[str, Any]:
        return {"kind": "features", "field": self.input_name}


class _Embedder(nn.Module):
    """A backbone as a task whose outputs are one field of its features."""

    phases = ("main",)
    batch_coupled = False
    monitor = ("loss", "min")

    def __init__(self, backbone: Backbone, field: str) -> None:
        super().__init__()
        self.backbone = backbone
        self.field = field

    def forward(self, batch: Batch, phase: str = "main") -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor]:
        value = getattr(self.backbone(batch, (self.field,)), self.field)
        zero = torch.zeros((), device=value.device)
        return zero, zero + len(value), {}, value


def state_hash(module: nn.Module) -> str:
    """sha256 over names and values of the whole state: equal weights, equal hash, wherever they came from."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def compute_features(
    backbone: Backbone, weights: str, data: Prepared, split: str, field: str, runtime: Runtime, precision: str
) -> np.ndarray:
    """One field of Features for every row of a split, in evaluation mode, from the cache where it has it.

    Args:
        weights: :func:`state_hash` of the backbone.

    Returns:
        (n, ...) float32, memory-mapped where it came from the cache.
    """
    store, pipeline = data.stores[split], data.pipeline
    facts = [backbone.spec.name, weights, pipeline.describe(), field, precision]
    facts += [store.key, torch.__version__]
    key = hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()
    path = cache_dir() / "features" / f"{key}.npy"
    if (cached := _open(path, len(store))) is not None:
        say(f"features: {split} from the cache, {len(store):,} x {'x'.join(map(str, cached.shape[1:]))}")
        return cached
    say(f"features: {split}, {len(store):,} samples once through the frozen backbone")
    batches = Eval(store, data.labels[split], pipeline, **forward_size(pipeline))
    values, _ = collect(_Embedder(backbone, field), batches, runtime, precision=precision)
    if runtime.is_main:
        _write(path, values.numpy())
    return values.numpy()


def _open(path: Path, rows: int) -> np.ndarray | None:
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return array if len(array) == rows else None


def _write(path: Path, array: np.ndarray) -> None:
    """A cache that cannot be written costs time, not the run."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            np.save(file, array)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        say(f"features: not cached, {path.parent} refused: {error.strerror}")
