"""Where a zero-shot head begins: the text tower's vectors of the class names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.console import say
from zoo.protocols import Batch, DualEncoder, Features, Paired
from zoo.torch_pair import TorchPair
from zoo.towers import pair_with, run_model, side_of_pair
from zoo.trained import pipeline_for
from zoo.weights import LoadedBackbone, load_backbone
from zoo.weights.resolve import RANDOM
from zoo.zeroshot import ZeroShot
from zoo_multimodal.zero_shot_head import ZeroShotHead
from zoo_registry.errors import PluginError, UsageError
from zoo_registry.registry import Registry, ResolvedModel

CLOSE = 1e-3
"""Of vectors of one tower, built twice: largest difference, relative to the largest value."""


def begin(head: ZeroShotHead, loaded: LoadedBackbone, registry: Registry) -> None:
    """Let the head guess as the pair does without training: its classes begin as the text tower's unit vectors of
    their names, averaged over sentences, its scale as the pair's.

    Raises:
        UsageError: the backbone is not the side of a pair with texts, or its weights are not those of one.
        ZooError: as loading the pair does.
    """
    pair, side = _pair_of(loaded, registry)
    if "text" not in pair.spec.towers or side == "text":
        raise UsageError(
            f"{pair.id} has no text tower besides {loaded.model_id}, so class names mean nothing to it.",
            "Leave --head out, or choose a model of images or sounds and texts.",
        )
    size = loaded.input.size[-1] if side == "image" else None
    whole = load_backbone(pair.id, weights=_weights(loaded, pair), registry=registry, size=size)
    dual, pipeline = whole.backbone, pipeline_for(pair.id, whole.input, registry)
    if not isinstance(dual, DualEncoder) or not isinstance(pipeline, Paired):
        raise PluginError(f"{pair.id} names towers, but is no DualEncoder.", f"Report it to {whole.plugin}.")
    projection = _projection(loaded.backbone, dual.towers[side], loaded.model_id)
    # On the CPU: the device is about to be filled by the training.
    opened = TorchPair(dual, pipeline, {"model_id": pair.id}, device="cpu")
    start = ZeroShot(opened, head.labels)
    head.begin(torch.from_numpy(start.classes), opened.scale, projection)
    sentences = f"{len(start.templates)} sentences each"
    say(f"head: begins with what {pair.spec.towers['text']} makes of {len(head.labels)} class names in {sentences}")


def _pair_of(loaded: LoadedBackbone, registry: Registry) -> tuple[ResolvedModel, str]:
    """(the model of pairs that the backbone is a tower of, its side)."""
    trained = run_model(loaded.weights_id)
    found = side_of_pair(trained, loaded.model_id, registry) if trained else None
    if found is None and trained == loaded.model_id:
        raise UsageError(
            f"{loaded.weights_id} holds one tower alone, which has been trained without the other.",
            "Give the run of pairs that it came from, or the model's own weights.",
        )
    found = found or pair_with(loaded.model_id, registry)
    if found is None:
        raise UsageError(
            f"{loaded.model_id} belongs to no text tower, so class names mean nothing to it.",
            "Leave --head out, or choose a model of images and texts: zoo list --modality image-text",
        )
    return found


def _weights(loaded: LoadedBackbone, pair: ResolvedModel) -> str:
    """The pair's weights, where the tower's came from."""
    if loaded.weights_id == RANDOM:
        raise UsageError(
            f"Towers of random numbers know no class names, and {loaded.model_id} starts from such.",
            "Leave --head out, or --weights none.",
        )
    if Path(loaded.weights_id).exists():
        return loaded.weights_id
    return loaded.weights_id.partition("@")[2]


@torch.no_grad()
def _projection(backbone: Any, tower: Any, model_id: str) -> Tensor | None:
    """What leads from the backbone's pooled features into the space of the pair (D, its width): None where they are
    there already.

    Raises:
        UsageError: neither; the backbone is another network than the pair's tower.
    """
    # Noise: of an empty picture even different networks may make the same nothing.
    noise = torch.Generator().manual_seed(0)
    batch = {
        name: torch.rand(value.shape, generator=noise) if value.is_floating_point() else value
        for name, value in tower.example_inputs(1).items()
    }
    training = backbone.training
    own, wanted = _pooled(backbone.eval(), batch), _pooled(tower.eval(), batch)
    backbone.train(training)
    if own.shape == wanted.shape and _close(own, wanted):
        return None
    layer = getattr(tower, "projection", None)
    if isinstance(layer, nn.Linear) and layer.in_features == own.shape[-1] and _close(layer(own), wanted):
        return layer.weight
    raise UsageError(
        f"The features of {model_id} are not those of its pair.", "Leave --head out, or give weights of both towers."
    )


def _pooled(backbone: Any, batch: Batch) -> Tensor:
    features: Features = backbone(batch, ("pooled",))
    return features.pooled.float()


def _close(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() <= CLOSE * other.abs().max().clamp(min=1e-6))
