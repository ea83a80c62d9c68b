"""A plugin of small open_clip models: pairs and their image towers, and runs of them with random weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from clip_toys import PADS, contract, shrunk
from text_toys import write_tokenizer
from tower_toys import LANGUAGE, VISION, WORDS

from zoo.trained import input_dict, save_trained
from zoo.weights import load_backbone
from zoo_registry.hooks import hookimpl
from zoo_registry.registry import Registry, build_registry
from zoo_registry.specs import ModelSpec

FAMILIES = ("vit", "siglip", "coca", "roberta")
BUILD = "zoo_multimodal.clip_backbone:build_"


class Plugin:
    @hookimpl
    def zoo_models(self) -> list[ModelSpec]:
        return [spec for family in FAMILIES for spec in _records(family)]


def _records(family: str) -> list[ModelSpec]:
    config: dict[str, Any] = shrunk(family, layers=1)
    input = contract(config)
    image, text = input.parts
    both: dict[str, Any] = {"dim": config["embed_dim"], "exports": ("onnx",)}
    pad = {"pad": PADS.get(family, 0)}
    return [
        ModelSpec(
            name=family,
            builder=f"{BUILD}clip",
            pipeline="zoo.pairs:PairPipeline",
            input=input,
            towers={"image": f"{family}-image", "text": f"{family}-text"},
            tower_state="zoo_multimodal.clip_weights:tower_state",
            options={"config": config, **pad},
            **both,
        ),
        ModelSpec(
            name=f"{family}-image",
            builder=f"{BUILD}image_tower",
            pipeline=VISION,
            input=image,
            options={"config": config},
            **both,
        ),
        ModelSpec(
            name=f"{family}-text",
            builder=f"{BUILD}text_tower",
            pipeline=LANGUAGE,
            input=text,
            options={"config": config, **pad},
            **both,
        ),
    ]


def small_registry() -> Registry:
    return build_registry([("small", Plugin())])


def write_run(family: str, folder: Path, registry: Registry) -> Path:
    """A model folder as ``zoo pretrain`` leaves it."""
    torch.manual_seed(0)
    loaded = load_backbone(family, weights="none", registry=registry)
    write_tokenizer(folder / "model", WORDS)
    parts = tuple(dataclasses.replace(part, assets="") for part in loaded.input.parts)
    meta = {
        "model_id": loaded.model_id,
        "objective": "none",
        "input": input_dict(dataclasses.replace(loaded.input, parts=parts)),
    }
    save_trained(folder / "model", {"backbone": loaded.backbone.module}, meta)
    return folder
