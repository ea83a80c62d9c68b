"""Write ``plugins/zoo_multimodal/catalogue.json``: a row for each of open_clip's configurations and checkpoints.

    python tools/generate_multimodal_catalogue.py                       # rewrite the file (a minute)
    python tools/generate_multimodal_catalogue.py --check --sample 12   # compare; build only 12 of the networks

Names, places and preprocessing are open_clip's own, parameters are counted on torch's meta device, so that no weights
are downloaded. Which checkpoint is the default, licences, padding and separators are decided by the tables below:
open_clip's package names none of them. Nor does it ship accuracies.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from catalogue_file import write_or_compare
from open_clip.factory import get_model_config, list_models
from open_clip.pretrained import get_pretrained_cfg, list_pretrained

from zoo_multimodal.clip_modules import build_image_module, build_pair_module, build_text_module, config_of
from zoo_multimodal.hf_texts import HF_TEXTS

FILE = Path(__file__).resolve().parent.parent / "plugins" / "zoo_multimodal" / "catalogue.json"
SCHEMA_VERSION = 1
CONTEXT = 77
"""What open_clip's tokenizers cut to where a configuration names no length."""

# Of several checkpoints the one that does best in general, as their authors say; what was finetuned for one purpose
# comes after. Models that are not named have one checkpoint.
DEFAULTS = {
    "RN50": "openai",
    "RN50-quickgelu": "openai",
    "RN101": "openai",
    "RN101-quickgelu": "openai",
    "ViT-B-32": "datacomp_xl_s13b_b90k",
    "ViT-B-32-quickgelu": "metaclip_fullcc",
    "ViT-B-16": "datacomp_xl_s13b_b90k",
    "ViT-B-16-quickgelu": "dfn2b",
    "ViT-B-16-plus-240": "laion400m_e32",
    "ViT-L-14": "datacomp_xl_s13b_b90k",
    "ViT-L-14-quickgelu": "dfn2b",
    "ViT-H-14": "laion2b_s32b_b79k",
    "ViT-H-14-quickgelu": "dfn5b",
    "ViT-g-14": "laion2b_s34b_b88k",
    "ViT-bigG-14": "laion2b_s39b_b160k",
    "convnext_base_w": "laion2b_s13b_b82k_augreg",
    "convnext_base_w_320": "laion_aesthetic_s13b_b82k_augreg",
    "convnext_large_d_320": "laion2b_s29b_b131k_ft_soup",
    "convnext_xxlarge": "laion2b_s34b_b82k_augreg_soup",
    "coca_ViT-B-32": "laion2b_s13b_b90k",
    "coca_ViT-L-14": "laion2b_s13b_b90k",
    "ViT-H-14-CLIPA-336": "datacomp1b",
    "nllb-clip-base-siglip": "mrl",
    "nllb-clip-large-siglip": "mrl",
    "MobileCLIP-B": "datacompdr_lt",
}

# (pattern of "model@tag", licence), the first that fits. Of the projects' own repositories and of timm's records of
# the same weights; none where they do not say.
LICENCES = (
    (r".*@openai|RN.*@(yfcc15m|cc12m)", "mit"),
    (r".*@metaclip", "cc-by-nc-4.0"),
    (r".*@dfn\db", "apple-ascl"),
    (r"MobileCLIP", "apple-amlr"),
    (r".*(SigLIP|CLIPA|PE-Core)", "apache-2.0"),
    (r"EVA0|ViTamin", "mit"),
    (r".*@(laion|datacomp|commonpool|mscoco_finetuned_laion|frozen_laion)", "mit"),
)

FAMILIES = (
    (r"coca_", "coca"),
    (r"EVA0", "eva"),
    (r"MobileCLIP", "mobileclip"),
    (r"PE-Core", "pe"),
    (r"ViTamin", "vitamin"),
    (r".*SigLIP2", "siglip2"),
    (r".*SigLIP", "siglip"),
    (r".*CLIPA", "clipa"),
    (r"nllb", "nllb-clip"),
    (r".*worldwide", "metaclip2"),
    (r"RN", "resnet"),
    (r"convnext", "convnext"),
    (r"(roberta|xlm|mt5)", "clip-hf"),
)

# (pattern of the tokenizer's repository, the id that pads, the id that is put to 0 before the network reads it).
TOKENIZERS: tuple[tuple[str, int, int | None], ...] = (
    (r"timm/.*SigLIP2", 0, None),
    (r"timm/.*SigLIP", 1, None),
    (r"bert-base-uncased", 0, 102),
    (r"facebook/xlm-v-base|roberta-base|xlm-roberta|facebook/nllb", 1, None),
    (r"google/mt5", 0, None),
)

# open_clip points at the weights of another epoch there; the address is right.
WRONG_HUB = frozenset((("ViT-B-16-plus-240", "laion400m_e32"),))


def generate(measured: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """The catalogue. ``measured`` has the parameters (image, text, all) of networks that need not be built."""
    models = [_model(name, measured.get(name) or measure(name)) for name in list_models()]
    return {
        "schema_version": SCHEMA_VERSION,
        "models": models,
        "weights": [_weights(model, tag) for model, tag in list_pretrained()],
    }


def measure(name: str) -> tuple[int, int, int]:
    """Parameters of the image tower, the text tower and the whole."""
    config = config_of(name)
    with torch.device("meta"):
        built = (build_image_module(config), build_text_module(config, name), build_pair_module(config, name))
    image, text, whole = (sum(parameter.numel() for parameter in module.parameters()) for module in built)
    return image, text, whole


def _model(name: str, params: Sequence[int]) -> dict[str, Any]:
    config = get_model_config(name)
    vision, text = config["vision_cfg"], config["text_cfg"]
    tokenizer = text.get("hf_tokenizer_name") or "clip"
    pad, drop = next(((pad, drop) for pattern, pad, drop in TOKENIZERS if re.match(pattern, tokenizer)), (0, None))
    hugging = text.get("hf_model_name")
    tags = [tag for model, tag in list_pretrained() if model == name]
    size = vision.get("image_size", 224)
    return {
        "name": name,
        "shared": name in timm.list_models(),
        "family": next((family for pattern, family in FAMILIES if re.match(pattern, name)), "vit"),
        "dim": config["embed_dim"],
        "params": list(params),
        "size": [size, size] if isinstance(size, int) else list(size),
        "context": text.get("context_length", CONTEXT),
        "vocabulary": text["vocab_size"] if hugging is None else HF_TEXTS[hugging]["vocab_size"],
        "tokenizer": tokenizer,
        "clean": "canonical" if text.get("tokenizer_kwargs", {}).get("clean") == "canonicalize" else "plain",
        "pad": pad,
        "drop": drop,
        "grid": "timm_model_name" in vision or not vision.get("attentional_pool"),
        "default": DEFAULTS[name] if len(tags) > 1 else next(iter(tags), None),
    }


def _weights(model: str, tag: str) -> dict[str, Any]:
    found = get_pretrained_cfg(model, tag)
    wrong = (model, tag) in WRONG_HUB
    # OpenAI's own files are programs (TorchScript), which are never run; the hub has their weights.
    url = found["url"] if tag != "openai" else ""
    digest = re.search(r"-([0-9a-f]{8})\.pth?$", url) if "mlfoundations" in url else None
    return {
        "model": model,
        "tag": tag,
        "hub": "" if wrong else found["hf_hub"],
        "url": url,
        "sha256": digest[1] if digest and wrong else None,
        "mean": list(found["mean"]),
        "std": list(found["std"]),
        "interpolation": found["interpolation"],
        "crop": {"shortest": "center", "squash": "squash"}[found["resize_mode"]],
        "license": next((licence for pattern, licence in LICENCES if re.match(pattern, f"{model}@{tag}")), ""),
    }


def lines_of(catalogue: Mapping[str, Any]) -> Iterable[str]:
    """JSON with one row a line, so that a diff names what changed."""

    def rows(values: Iterable[Mapping[str, Any]]) -> str:
        return ",\n".join(json.dumps(row, separators=(",", ":")) for row in values)

    yield f'{{"schema_version":{catalogue["schema_version"]},"models":[\n{rows(catalogue["models"])}\n],"weights":[\n'
    yield f"{rows(catalogue['weights'])}\n]}}\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed file; exit 1 on drift")
    parser.add_argument("--sample", type=int, help="with --check: build only so many architectures")
    options = parser.parse_args(arguments)
    if options.sample is not None and not options.check:
        parser.error("--sample needs --check")
    measured: dict[str, Sequence[int]] = {}
    if options.sample is not None and FILE.exists():
        rows = json.loads(FILE.read_text(encoding="utf-8"))["models"]
        # Large strides over the sorted names touch many families; which ones is the same on every run.
        chosen: Container[int] = range(0, len(rows), max(1, len(rows) // max(1, options.sample)))
        measured = {row["name"]: row["params"] for i, row in enumerate(rows) if i not in chosen}
    return write_or_compare(FILE, "".join(lines_of(generate(measured))), options.check)


if __name__ == "__main__":
    sys.exit(main())
