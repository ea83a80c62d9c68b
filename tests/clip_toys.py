"""Small open_clip models, by shrinking its own configurations, and records for them."""

from __future__ import annotations

from typing import Any

import timm
import torch
from open_clip.factory import get_model_config
from timm.models import register_model
from timm.models.vitamin import VitCfg, VitConvCfg

from zoo_registry.specs import InputSpec, ModelSpec


def _small(name: str, **sizes: Any) -> str:
    """A network of timm's made small, under a name of its own: open_clip's configurations hold no sizes of it."""

    def build(pretrained: bool = False, **options: Any) -> torch.nn.Module:
        return timm.create_model(name, **sizes, **options)

    build.__name__ = f"small_{name}"
    register_model(build)
    return build.__name__


_STEM = VitCfg((16, 16, 64), (1, 1, 1), stem_width=16, conv_cfg=VitConvCfg(norm_layer="layernorm2d", norm_eps=1e-6))
# (name, input size) of what stands in for a network of timm's.
SMALL_TIMM = {
    "vit_base_patch16_siglip_224": ("test_vit", 160),
    "convnext_base": ("test_convnext", 160),
    "eva02_base_patch16_clip_224": (_small("eva02_tiny_patch14_224", depth=1, img_size=56), 56),
    "fastvit_mci2": (_small("fastvit_mci0", layers=(1, 1, 1, 1), embed_dims=(16, 32, 64, 128)), 64),
    "vitamin_small_224": (
        _small("vitamin_small_224", depth=1, embed_dim=64, num_heads=2, embed_cfg=_STEM, img_size=64),
        64,
    ),
    "vit_pe_core_base_patch16_224": (_small("vit_pe_core_tiny_patch16_384", depth=1, img_size=64), 64),
}
FAMILIES = {
    "vit": "ViT-B-32",
    "quickgelu": "ViT-B-32-quickgelu",
    "clipa": "ViT-L-14-CLIPA",
    "resnet": "RN50",
    "convnext": "convnext_base_w",
    "siglip": "ViT-B-16-SigLIP",
    "eva": "EVA02-B-16",
    "mobileclip": "MobileCLIP2-S2",
    "vitamin": "ViTamin-S",
    "pe": "PE-Core-B-16",
    "coca": "coca_ViT-B-32",
    "metaclip2": "ViT-H-14-worldwide",
}
HUGGING = {"roberta": "roberta-ViT-B-32", "mt5": "mt5-base-ViT-B-32", "nllb": "nllb-clip-base"}
PADS = {"siglip": 1, "metaclip2": 1}
SMALL_HF: dict[str, dict[str, Any]] = {
    "roberta": {
        "model_type": "xlm-roberta",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "vocab_size": 500,
        "max_position_embeddings": 40,
        "pad_token_id": 1,
    },
    "mt5": {
        "model_type": "mt5",
        "d_model": 32,
        "d_ff": 64,
        "d_kv": 16,
        "num_layers": 2,
        "num_heads": 2,
        "vocab_size": 500,
        "feed_forward_proj": "gated-gelu",
        "pad_token_id": 0,
    },
    "nllb": {
        "model_type": "m2m_100",
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 1,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "vocab_size": 500,
        "max_position_embeddings": 64,
        "pad_token_id": 1,
    },
}


def shrunk(family: str, vocabulary: int = 600, layers: int = 2) -> dict[str, Any]:
    """A family's configuration with few layers of small width; what makes the family itself is kept.

    Args:
        layers: of its Transformers, but for those of timm. Tracing takes as long as there are layers.
    """
    name = FAMILIES.get(family) or HUGGING[family]
    config = get_model_config(name)
    vision, text = config["vision_cfg"], config["text_cfg"]
    config["embed_dim"] = 32
    if "timm_model_name" in vision:
        vision["timm_model_name"], vision["image_size"] = SMALL_TIMM[vision["timm_model_name"]]
        if vision.get("timm_proj") == "none":  # the network's own width is the width of the space
            config["embed_dim"] = 64
    elif family == "resnet":
        vision |= {"layers": [1, 1, 1, 2], "width": 8, "image_size": 64}
    else:
        patch = min(vision["patch_size"], 16)
        vision |= {"layers": layers, "width": 64, "head_width": 32, "image_size": 2 * patch, "patch_size": patch}
    if family in HUGGING:
        depths = dict.fromkeys(SMALL_HF[family].keys() & {"num_hidden_layers", "num_layers", "encoder_layers"}, layers)
        text["hf_config"] = SMALL_HF[family] | depths
    else:
        text |= {"width": 32, "heads": 2, "layers": layers, "vocab_size": vocabulary}
        text["context_length"] = min(text["context_length"], 16)
    if "multimodal_cfg" in config:
        config["multimodal_cfg"] |= {"width": 32, "heads": 2, "layers": layers, "context_length": 16}
        config["multimodal_cfg"]["vocab_size"] = vocabulary
        vision["attn_pooler_queries"] = 8
    return config


def contract(config: dict[str, Any], size: int | None = None) -> InputSpec:
    """The input contract of a pair."""
    side = size or config["vision_cfg"]["image_size"]
    image = InputSpec(modality="image", size=(3, side, side), mean=(0.5,) * 3, std=(0.5,) * 3)
    text = InputSpec(modality="text", size=(config["text_cfg"].get("context_length", 16),))
    return InputSpec(modality="image-text", parts=(image, text))


def record(input: InputSpec) -> ModelSpec:
    return ModelSpec(name="small", builder="a.b:c", pipeline="a.b:c", input=input)


def some_texts(count: int, length: int, vocabulary: int = 600, seed: int = 0) -> dict[str, torch.Tensor]:
    """Token ids (count, length) of different lengths behind a start token, ended by the largest id."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, vocabulary - 2, (count, length), generator=generator)
    mask = torch.zeros_like(ids)
    for row in range(count):
        real = 3 + row % (length - 2)
        ids[row, 0], ids[row, real - 1], mask[row, :real] = vocabulary - 2, vocabulary - 1, 1
    return {"input_ids": ids, "attention_mask": mask}


def some_images(count: int, input: InputSpec, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"image": torch.randn(count, *input.parts[0].size, generator=generator)}
