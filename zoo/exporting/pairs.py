"""A model of pairs as two ONNX graphs in one folder: both towers, unit vectors, and the factor on cosines."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.console import say
from zoo.exporting.files import add_tokenizer, described, opset_of, seal
from zoo.exporting.pair_card import write_pair_card
from zoo.exporting.pair_samples import PairSamples, samples_of
from zoo.exporting.parity import Parity, latencies
from zoo.exporting.trace import write_graph
from zoo.kinds.embedding import CLOSE
from zoo.pair_vectors import PairVectors, pair_vectors
from zoo.protocols import DualEncoder, DynamicAxes
from zoo.retrieval import recalls
from zoo.run import versions
from zoo.serve_model import FORMAT, PAIRS, SCHEMA_VERSION, open_session
from zoo.serve_pairs import SCALED, VECTORS, OnnxPair, graph_file
from zoo.torch_pair import TorchPair
from zoo_registry.errors import DataError, PluginError
from zoo_registry.registry import Registry

TOLERANCE = 1e-2
"""Largest accepted difference of a logit, which is a cosine times a factor of up to 100."""

READ = ("*.onnx", "*.onnx.data", "tokenizer.json")
BATCH = 16
LATENCY_SECONDS = 1.5

# Of what TorchPair says of itself that which the export's model.json takes over.
_KEPT = (
    *("model_id", "weights_id", "weights_sha256", "plugin", "plugin_version", "objective", "input", "preprocessing"),
    *("data", "metrics", "trained_sha256"),
)


class _Side(nn.Module):
    """A tower with its normalisation; of texts also the vectors times the factor on cosines."""

    def __init__(self, dual: Any, modality: str) -> None:
        super().__init__()
        self.dual = dual
        self.modality = modality
        self.names = tuple(dual.towers[modality].example_inputs(1))

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        pooled = self.dual.towers[self.modality](dict(zip(self.names, inputs, strict=True))).pooled
        vectors = F.normalize(pooled.float(), dim=-1)
        return (vectors, vectors * self.dual.logit_scale.exp()) if self.modality == "text" else vectors


def build_pair(folder: Path, target: str | Path, pair: TorchPair, registry: Registry) -> tuple[Parity, dict[str, Any]]:
    """Write the graphs, ``model.json``, the tokenizer and the card, and compare with torch."""
    meta: dict[str, Any] = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "task": PAIRS,
        "labels": [],
        **{key: pair.meta.get(key) for key in _KEPT},
        "modalities": list(pair.modalities),
        "logit_scale": pair.scale,
        "logit_bias": pair.bias,
        "preprocess": "host",
        "precision": "fp32",
        "versions": versions("onnx", "onnxruntime", "open_clip_torch", "timm", "transformers"),
        "graphs": {},
    }
    for modality in pair.modalities:
        say(f"export: tracing the {modality} tower of {meta['model_id']}")
        path = folder / graph_file(modality)
        trace_side(pair.dual, modality, path, meta["model_id"])
        meta["graphs"][modality], meta["opset"] = described(path), opset_of(path)
        add_tokenizer(folder, pair.meta["preprocessing"]["parts"][modality], pair.pipelines[modality])
    seal(folder, meta, READ)
    exported = OnnxPair(folder)
    samples = samples_of(target, pair.modalities, registry)
    say(f"export: comparing with torch on {len(samples.items[0])} {samples.described}")
    parity = compare_pairs(pair, exported, samples)
    meta["parity"] = {**dataclasses.asdict(parity), "data": samples.name}
    meta["latency"] = {side: _latency(pair, exported, side, samples) for side in pair.modalities}
    meta["notes"] = [
        f"The {side} tower is slower than torch on this machine: {one['onnx_ms']:.2f} against {one['torch_ms']:.2f} ms."
        for side, one in meta["latency"].items()
        if one["speedup_over_torch"] < 1
    ]
    seal(folder, meta, READ)
    (folder / "MODEL_CARD.md").write_text(write_pair_card(meta), encoding="utf-8")
    return parity, meta


def trace_side(dual: DualEncoder, modality: str, path: Path, name: str) -> None:
    """Write one tower: its inputs under their own names, outputs ``vectors`` (batch, D) and, of texts, ``scaled``.

    Raises:
        PluginError: it takes texts of one length alone.
        ZooError: torch cannot trace it.
    """
    tower = dual.towers[modality]
    if modality == "text" and not isinstance(tower, DynamicAxes):
        raise PluginError(
            f"The text tower of {name} has no dynamic_axes, so its graph would take texts of one length alone.",
            "Add them to the backbone in its plugin (zoo.protocols.DynamicAxes).",
        )
    axes = tower.dynamic_axes if isinstance(tower, DynamicAxes) else {}
    outputs = [VECTORS, SCALED] if modality == "text" else [VECTORS]
    write_graph(_Side(dual, modality).eval(), tower.example_inputs(2), outputs, axes, path, f"The {modality} of {name}")


def compare_pairs(one: TorchPair, other: OnnxPair, samples: PairSamples) -> Parity:
    """Both sides on the same raw inputs. An answer is which item of the other side is nearest, in both directions;
    cosines that differ by less than :data:`zoo.kinds.embedding.CLOSE` are the same answer.

    Raises:
        DataError: inputs that cannot be read.
    """
    items = list(zip(*samples.items, strict=True))
    left, right = pair_vectors(one, items, BATCH), pair_vectors(other, items, BATCH)
    if left.bad or right.bad:
        bad = [*left.bad, *right.bad]
        raise DataError(f"{len(bad)} of the pairs cannot be read now: {bad[0][1]}", "Restore the data.")
    logits = [vectors.logits(pair.scale, pair.bias) for vectors, pair in ((left, one), (right, other))]
    scored = samples.name == "val"
    return Parity(
        samples=len(left),
        max_logit_difference=float(np.abs(logits[0] - logits[1]).max()),
        agreement=_agreement(logits[0] / one.scale, logits[1]),
        score_name="mean_recall" if scored else "",
        score_torch=_mean_recall(left) if scored else None,
        score_onnx=_mean_recall(right) if scored else None,
    )


def _agreement(cosines: np.ndarray, others: np.ndarray) -> float:
    same = [
        mine.max(axis=1) - np.take_along_axis(mine, theirs.argmax(axis=1)[:, None], 1)[:, 0] <= CLOSE
        for mine, theirs in ((cosines, others), (cosines.T, others.T))
    ]
    return float(np.concatenate(same).mean())


def _mean_recall(found: PairVectors) -> float:
    return recalls(*found.vectors, found.ids)["mean_recall"]


def _latency(pair: TorchPair, exported: OnnxPair, modality: str, samples: PairSamples) -> dict[str, Any]:
    """Batch 1 on one thread each, from prepared tensors."""
    items = samples.items[pair.modalities.index(modality)][:50]
    arrays = sorted((pair.decode(modality, item) for item in items), key=len)
    array = arrays[len(arrays) // 2]
    prepared = pair.batch(modality, [array])
    tensors = [prepared[name] for name in pair.dual.towers[modality].example_inputs(1)]
    network = _Side(pair.dual, modality).eval()
    session = open_session(exported.path / graph_file(modality), threads=1)
    feed = {one.name: prepared[one.name].numpy() for one in session.get_inputs()}
    calls: dict[str, Callable[[], object]] = {
        "onnx_ms": lambda: session.run(None, feed),
        "torch_ms": torch.inference_mode()(lambda: network(*tensors)),
    }
    found = latencies(calls, seconds=LATENCY_SECONDS)
    more = {"tokens": len(array)} if modality == "text" else {}
    return {
        **{name: round(value, 3) for name, value in found.items()},
        "threads": 1,
        **more,
        "speedup_over_torch": round(found["torch_ms"] / found["onnx_ms"], 2),
    }
