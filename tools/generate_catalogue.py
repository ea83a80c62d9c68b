"""Write ``plugins/zoo_vision/catalogue.json`` from the installed timm: one row a model, one row a checkpoint.

    python tools/generate_catalogue.py            # rewrite the file (a few minutes: every architecture is built)
    python tools/generate_catalogue.py --check    # compare instead; exit 1 on drift
    python tools/generate_catalogue.py --check --sample 20   # build only 20 architectures, compare everything else

Architectures are built on torch's meta device, so no weights are downloaded and no memory is spent. The embedding
width and the layouts are those of what the plugin's backbone returns, not a guess from attributes.

Published accuracy: timm's wheel ships none, so a figure stands only where torchvision ships it for the same file
(timm's ``tv_in1k`` and ``tv2_in1k`` checkpoints are torchvision's, matched by their address).

Left out: architectures without pooled features, and checkpoints that are neither on the hub nor carry a hash in their
file name, since nothing could verify them.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from catalogue_file import write_or_compare
from timm.models import get_pretrained_cfg, list_models, list_pretrained, model_entrypoint

from zoo_registry.specs import InputSpec, ModelSpec
from zoo_vision.timm_backbone import TimmBackbone

FILE = Path(__file__).resolve().parent.parent / "plugins" / "zoo_vision" / "catalogue.json"
SCHEMA_VERSION = 1

Row = list[Any]


def published_accuracy() -> dict[str, float]:
    """ImageNet-1k top-1 accuracy in percent that torchvision ships, by the address of the weights file."""
    from torchvision import models

    found = {}
    for name in models.list_models(module=models):
        for weights in models.get_model_weights(name):
            metrics = weights.meta.get("_metrics", {}).get("ImageNet-1K", {})
            if "acc@1" in metrics:
                found[weights.url.rsplit("/", 1)[-1]] = round(float(metrics["acc@1"]), 3)
    return found


def config_of(name: str) -> Any:
    """timm's record of an architecture's default checkpoint, or of ``architecture.tag``."""
    return get_pretrained_cfg(name)


def input_contract(cfg: Any) -> Row:
    return [
        list(cfg.input_size),
        list(cfg.mean),
        list(cfg.std),
        cfg.interpolation,
        cfg.crop_pct,
        cfg.crop_mode,
        bool(cfg.fixed_input_size),
    ]


def input_key(contract: Row) -> str:
    """A short readable key, so that a row says what it takes in without an index that shifts with every insertion."""
    size, mean, std, interpolation, crop, mode, fixed = contract
    norm = "-".join(f"{value:.3g}" for value in (mean[0], std[0]))
    side = f"{size[1]}" if size[1] == size[2] else f"{size[1]}x{size[2]}"
    channels = "" if size[0] == 3 else f"c{size[0]} "
    return f"{channels}{side} {interpolation} {crop:g} {mode} {norm}{' fixed' if fixed else ''}"


def head_keys(cfg: Any) -> str:
    named = cfg.classifier or ()
    return " ".join([named] if isinstance(named, str) else named)


def source_of(cfg: Any) -> tuple[str, str | None] | None:
    """(source, sha256 prefix or None), or None where nothing could verify the file."""
    if cfg.hf_hub_id:
        file = f"/{cfg.hf_hub_filename}" if cfg.hf_hub_filename else ""
        return f"hub:{cfg.hf_hub_id}{file}", None
    if match := re.search(r"-([0-9a-f]{8,64})\.\w+$", cfg.url or ""):
        return f"url:{cfg.url}", match.group(1)
    return None


def measure(name: str, contract: Row) -> tuple[int, int, str] | None:
    """(embedding width, parameters with the classifier, layouts as letters) of an architecture, without weights; None
    where it gives no pooled features, so that it is no backbone (encoders cut out of language models).

    Width and layouts are what the plugin's own backbone returns for an image, not what attributes promise.
    """
    size = contract[0]
    spec = ModelSpec(name=name, builder="", pipeline="", input=InputSpec(modality="image", size=tuple(size)))
    with torch.device("meta"), torch.no_grad():
        params = sum(p.numel() for p in timm.create_model(name).parameters())
        backbone = TimmBackbone(timm.create_model(name, num_classes=0).eval(), spec, spec.input)
        batch = {"image": torch.empty(1, *size)}
        for layouts in (("tokens", "grid", "layers"), ("tokens", "grid"), ("layers",), ()):
            try:
                features = backbone(batch, layouts)
            except Exception as error:  # each family refuses in its own way; what it can do is the question here
                print(f"{name} {layouts}: {type(error).__name__} {str(error)[:100]}", file=sys.stderr)
                continue
            given = "p" + "".join(layout[0] for layout in layouts)
            return int(features.pooled.shape[-1]), params, given
    return None


def generate(known: dict[str, tuple[int, int, str]]) -> dict[str, Any]:
    """The catalogue; widths, parameters and layouts of ``known`` architectures are taken, not measured again."""
    accuracy = published_accuracy()
    pretrained: dict[str, list[str]] = {}
    for full in list_pretrained():
        name, _, tag = full.partition(".")
        pretrained.setdefault(name, []).append(tag)
    names = sorted(set(pretrained) | {name for name in list_models() if name.startswith("test_")})
    inputs: dict[str, Row] = {}

    def keyed(cfg: Any) -> str:
        contract = input_contract(cfg)
        key = input_key(contract)
        while inputs.setdefault(key, contract) != contract:
            key += "'"
        return key

    models: list[Row] = []
    weights: list[Row] = []
    for name in names:
        tags: list[str] = []
        checkpoints: list[Row] = []
        for tag in sorted(pretrained.get(name, [])):
            cfg = config_of(f"{name}.{tag}")
            if source := source_of(cfg):
                tags.append(tag)
                published = accuracy.get((cfg.url or "").rsplit("/", 1)[-1])
                checkpoints.append(
                    [name, tag, *source, keyed(cfg), cfg.license or "", head_keys(cfg), cfg.num_classes, published]
                )
        cfg = config_of(name)
        default = cfg.tag if cfg.tag in tags else (tags[0] if tags else None)
        if default:
            cfg = config_of(f"{name}.{default}")
        family = model_entrypoint(name).__module__.rsplit(".", 1)[-1]
        size = known.get(name) or measure(name, input_contract(cfg))
        if size is None:
            continue
        weights += checkpoints
        models.append([name, family, *size, keyed(cfg), default])
    used = {row[5] for row in models} | {row[4] for row in weights}
    return {
        "schema_version": SCHEMA_VERSION,
        "source": f"timm {timm.__version__}",
        "inputs": {key: contract for key, contract in sorted(inputs.items()) if key in used},
        "models": models,
        "weights": weights,
    }


def lines_of(catalogue: dict[str, Any]) -> Iterable[str]:
    """JSON with one row a line, so that a diff names what changed."""

    def rows(values: list[Row]) -> str:
        return ",\n".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in values)

    inputs = ",\n".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in catalogue["inputs"].items())
    yield f'{{"schema_version":{catalogue["schema_version"]},"source":"{catalogue["source"]}","inputs":{{\n'
    yield f'{inputs}\n}},"models":[\n{rows(catalogue["models"])}\n],"weights":[\n{rows(catalogue["weights"])}\n]}}\n'


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed file; exit 1 on drift")
    parser.add_argument("--sample", type=int, help="with --check: build only so many architectures")
    options = parser.parse_args(arguments)
    if options.sample is not None and not options.check:
        parser.error("--sample needs --check")

    known: dict[str, tuple[int, int, str]] = {}
    committed = FILE.read_text(encoding="utf-8") if FILE.exists() else ""
    if options.sample is not None and committed:
        rows = json.loads(committed)["models"]
        # Large strides over the sorted names touch many families; which ones is the same on every run.
        measured = set(range(0, len(rows), max(1, len(rows) // max(1, options.sample))))
        known = {row[0]: (row[2], row[3], row[4]) for i, row in enumerate(rows) if i not in measured}
    text = "".join(lines_of(generate(known)))
    return write_or_compare(FILE, text, options.check)


if __name__ == "__main__":
    sys.exit(main())
