"""open_clip's models, their towers and their checkpoints. Imports no torch.

The list comes from ``catalogue.json``, written by tools/generate_multimodal_catalogue.py. Names and tags are
open_clip's own; where timm has a network of that very name (``convnext_base``), the pair is ``clip-`` and the name.
``clip-image/NAME`` and ``clip-text/NAME`` are the towers of a pair alone, with its weights.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo_registry.specs import InputSpec, ModelSpec, WeightsSpec

BUILDER = "zoo_multimodal.clip_backbone:build_clip"
IMAGE_BUILDER = "zoo_multimodal.clip_backbone:build_image_tower"
TEXT_BUILDER = "zoo_multimodal.clip_backbone:build_text_tower"
IMAGE_PIPELINE = "zoo_vision.pipeline:image_pipeline"
TOKENS = "zoo_multimodal.clip_tokenizer"
REQUIRES = ("open_clip", "timm", "tokenizers")

HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""What open_clip calls its weights on the hub; others in the same repository are of other libraries."""

COMPANIONS = ("tokenizer.json?", "tokenizer_config.json?", "special_tokens_map.json?")
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

# OpenAI's repositories on the hub. Their networks have QuickGELU, so open_clip's -quickgelu models are theirs.
ALIASES: Mapping[str, Mapping[str, str | None]] = {
    "ViT-B-32-quickgelu": {"clip-vit-base-patch32": "openai"},
    "ViT-B-16-quickgelu": {"clip-vit-base-patch16": "openai"},
    "ViT-L-14-quickgelu": {"clip-vit-large-patch14": "openai"},
    "ViT-L-14-336-quickgelu": {"clip-vit-large-patch14-336": "openai"},
}


def _fit_input(row: Mapping[str, Any]) -> str:
    return "" if row["tokenizer"] == "clip" else f"{TOKENS}:needs_tokenizer"


def _options(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"config": row["name"], "pad": row["pad"], "drop": row["drop"]}


def _exports(row: Mapping[str, Any]) -> tuple[str, ...]:
    # torch cannot trace transformers' mT5 encoder for texts of any length.
    return () if row["name"].startswith("mt5-") else ("onnx",)


def _requires(row: Mapping[str, Any]) -> tuple[str, ...]:
    return REQUIRES if row["tokenizer"] == "clip" else (*REQUIRES, "transformers")


def _name(row: Mapping[str, Any]) -> str:
    return f"clip-{row['name']}" if row["shared"] else row["name"]


def _pair_input(row: Mapping[str, Any], weights: Mapping[str, Any] | None) -> InputSpec:
    """The contract of a pair, its pictures as these weights have them, or as OpenAI's did."""
    normal = (MEAN, STD, "bicubic", "center")
    if weights:
        normal = (tuple(weights["mean"]), tuple(weights["std"]), weights["interpolation"], weights["crop"])
    return _contract(tuple(row["size"]), *normal, row["context"])


@functools.cache  # a few dozen for hundreds of checkpoints
def _contract(
    size: tuple[int, ...],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    interpolation: str,
    crop_mode: str,
    context: int,
) -> InputSpec:
    image = InputSpec(
        modality="image", size=(3, *size), mean=mean, std=std, interpolation=interpolation, crop_mode=crop_mode
    )
    return InputSpec(modality="image-text", parts=(image, InputSpec(modality="text", size=(context,))))


def _model(row: Mapping[str, Any]) -> ModelSpec:
    name = _name(row)
    default = _WEIGHTS.get((row["name"], row["default"]))
    return ModelSpec(
        name=name,
        builder=BUILDER,
        pipeline="zoo.pairs:PairPipeline",
        input=_pair_input(row, default),
        requires=_requires(row),
        extra="multimodal",
        family=row["family"],
        dim=row["dim"],
        params=row["params"][2],
        exports=_exports(row),
        default_weights=row["default"],
        aliases=ALIASES.get(row["name"], {}),
        license=default["license"] if default else "",
        options=_options(row),
        context=row["context"],
        vocabulary=row["vocabulary"],
        fit_input=_fit_input(row),
        towers={"image": f"clip-image/{name}", "text": f"clip-text/{name}"},
        tower_state="zoo_multimodal.clip_weights:tower_state",
    )


def _weights(found: Mapping[str, Any]) -> WeightsSpec:
    row = ROWS[found["model"]]
    place = found["hub"]
    # "org/repo/" with open_clip's own file names, or "org/repo/file".
    files = HUB_FILES if place.endswith("/") else ("",)
    hub = tuple(f"hub:{place}{file}" for file in files) if place else ()
    return WeightsSpec(
        model=_name(row),
        tag=found["tag"],
        sources=(*hub, *((f"url:{found['url']}",) if found["url"] else ())),
        sha256=found["sha256"],
        trust_first=bool(found["url"]) and not found["sha256"],
        input=_pair_input(row, found),
        license=found["license"],
        companions=() if row["tokenizer"] == "clip" else COMPANIONS,
    )


def _tower(modality: str, pipeline: str, size: tuple[int, ...], builder: str) -> ModelSpec:
    """The record that stands for one side of every pair."""
    normal: dict[str, Any] = {"mean": MEAN, "std": STD} if modality == "image" else {}
    return ModelSpec(
        name=f"clip-{modality}",
        builder=builder,
        pipeline=pipeline,
        input=InputSpec(modality=modality, size=size, **normal),
        requires=REQUIRES,
        extra="multimodal",
        family="clip",
        layouts=("pooled", "tokens", "layers"),
        exports=("onnx",),
        prefix=f"clip-{modality}/",
        derive=f"zoo_multimodal.clip_derive:derive_{modality}",
        summary=f"The {modality} tower alone of a pair of open_clip's: clip-{modality}/NAME[@WEIGHTS].",
    )


_CATALOGUE = json.loads(Path(__file__).with_name("catalogue.json").read_bytes())
ROWS: dict[str, Mapping[str, Any]] = {row["name"]: row for row in _CATALOGUE["models"]}
_WEIGHTS: dict[tuple[str, str], Mapping[str, Any]] = {(row["model"], row["tag"]): row for row in _CATALOGUE["weights"]}

CLIP_MODELS: tuple[ModelSpec, ...] = (
    *map(_model, ROWS.values()),
    _tower("image", IMAGE_PIPELINE, (3, 224, 224), IMAGE_BUILDER),
    _tower("text", f"{TOKENS}:clip_text_pipeline", (77,), TEXT_BUILDER),
)
CLIP_WEIGHTS: tuple[WeightsSpec, ...] = tuple(map(_weights, _WEIGHTS.values()))
