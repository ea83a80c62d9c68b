"""open_clip's own modules from its configurations: a pair, or one tower alone. Nothing is downloaded."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import open_clip
from open_clip.coca_model import CoCa
from open_clip.model import CLIP, CustomTextCLIP, _build_text_tower, _build_vision_tower
from open_clip.pretrained import get_pretrained_cfg
from torch import nn

from zoo.console import say
from zoo_multimodal.hf_texts import described_here
from zoo_registry.errors import UsageError
from zoo_registry.specs import WeightsSpec

Config = str | Mapping[str, Any]
"""The name of one of open_clip's configurations, or the contents of one."""


def config_of(config: Config) -> dict[str, Any]:
    """A copy of a configuration, none of whose towers would fetch weights.

    Raises:
        UsageError: the installed open_clip has none of that name.
    """
    made = open_clip.get_model_config(config) if isinstance(config, str) else copy.deepcopy(dict(config))
    if made is None:
        raise UsageError(
            f"The installed open_clip {open_clip.__version__} has no model {config}.",
            "Upgrade it: pip install --upgrade open_clip_torch",
        )
    if "timm_model_name" in made["vision_cfg"]:
        made["vision_cfg"]["timm_model_pretrained"] = False
    return made


def native_size(config: Mapping[str, Any]) -> tuple[int, int]:
    """(height, width) of the images of a configuration."""
    size = config["vision_cfg"].get("image_size", 224)
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def sized(config: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """The configuration for images of ``size``. timm's networks are built for their own size and changed later, by
    :func:`zoo_multimodal.clip_weights.fit_size`."""
    if "timm_model_name" in config["vision_cfg"]:
        return config
    image_size = size[0] if size[0] == size[1] else list(size)
    return {**config, "vision_cfg": {**config["vision_cfg"], "image_size": image_size}}


def build_pair_module(config: Mapping[str, Any], name: str) -> CLIP | CustomTextCLIP | CoCa:
    """The class that :func:`open_clip.create_model` would choose, with random numbers."""
    fields = {key: value for key, value in config.items() if key != "custom_text"}
    custom = config.get("custom_text") or "hf_model_name" in config["text_cfg"]
    kind: Any = (CoCa if "multimodal_cfg" in config else CustomTextCLIP) if custom else CLIP
    with described_here(config["text_cfg"], name) as text:
        module = kind(**{**fields, "text_cfg": text})
    if isinstance(module, CoCa):
        # open_clip leaves it as the memory happened to be.
        width = module.text_decoder.text_projection.shape[0]
        nn.init.normal_(module.text_decoder.text_projection, std=width**-0.5)
    return module


def build_image_module(config: Mapping[str, Any]) -> nn.Module:
    """The image tower alone."""
    return _build_vision_tower(config["embed_dim"], config["vision_cfg"], config.get("quick_gelu", False))


def build_text_module(config: Mapping[str, Any], name: str) -> nn.Module:
    """The text tower alone."""
    with described_here(config["text_cfg"], name) as text:
        return _build_text_tower(config["embed_dim"], text, config.get("quick_gelu", False))


def warn_of_gelu(config: Config, weights: WeightsSpec | None) -> None:
    """Say so where a checkpoint was trained with another activation than its model has: open_clip publishes OpenAI's
    and some other weights under both, and they are best under one."""
    if not isinstance(config, str) or weights is None:
        return
    trained = get_pretrained_cfg(config, weights.tag).get("quick_gelu", False)
    if trained and not config_of(config).get("quick_gelu", False):
        better = f"{config}-quickgelu"
        advice = f"; {better}@{weights.tag} has it" if get_pretrained_cfg(better, weights.tag) else ""
        say(f"weights: {config}@{weights.tag} was trained with QuickGELU, which this model has not{advice}")
