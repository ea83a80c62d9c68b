"""A plugin with a tiny model of pictures and words: the pair, its two towers by themselves, weights of one tag, and a
run of pairs that was trained from it. ``python tower_toys.py FOLDER ARGUMENTS`` is ``zoo`` with the plugin."""

from __future__ import annotations

import dataclasses
import io
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

import zoo
from zoo import pairs
from zoo.protocols import Batch, Features, LayerGroups
from zoo.trained import input_dict, pipeline_for, save_trained
from zoo.weights import LoadedBackbone, load_backbone
from zoo_registry.hooks import hookimpl
from zoo_registry.registry import Registry, build_registry
from zoo_registry.specs import InputSpec, ModelSpec, WeightsSpec

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for the kill test, which starts this file

from text_toys import write_tokenizer

CLASSES = ("bar_code", "dot", "sea-grass")
_TEXT = "bar code dot sea grass a photo of the close up bad small large drawing . - things"
WORDS = _TEXT.split()
DIM = 16
PACKAGE = "toy_pair_files"
PICTURE = InputSpec(modality="image", size=(3, 24, 24), mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear")
TEXT = InputSpec(modality="text", size=(16,))
SPEC_FIELDS: dict[str, Any] = {"dim": DIM, "default_weights": "made", "exports": ("onnx",)}
VISION, LANGUAGE = "zoo_vision.pipeline:image_pipeline", "zoo_text.pipeline:text_pipeline"
TOWERS = {"image": "toy-image", "text": "toy-text"}


class Tower(nn.Module):
    """What both towers share: a network under ``module`` whose last layer is the projection."""

    def __init__(self, spec: ModelSpec, input: InputSpec, network: nn.Module) -> None:
        super().__init__()
        self.spec, self.input, self.dim, self.module = spec, input, DIM, network

    def layer_groups(self) -> LayerGroups:
        named = list(self.module.named_parameters(prefix="module"))
        return [("stem", named[:-1]), ("projection", named[-1:])]


class ImageTower(Tower):
    def __init__(self, spec: ModelSpec, input: InputSpec) -> None:
        network = nn.Sequential(
            nn.Conv2d(3, 8, 5, stride=2),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(32, DIM, bias=False),
        )
        super().__init__(spec, input, network)

    def forward(self, batch: Batch, layouts: Sequence[str] = ("pooled",)) -> Features:
        return Features(self.module(batch["image"]))

    def example_inputs(self, batch_size: int = 2) -> Batch:
        return {"image": torch.zeros(batch_size, *self.input.size)}


class TextTower(Tower):
    dynamic_axes = dict.fromkeys(("input_ids", "attention_mask"), ("batch", "sequence"))

    def __init__(self, spec: ModelSpec, input: InputSpec) -> None:
        super().__init__(spec, input, nn.Sequential(nn.Embedding(64, 12), nn.Linear(12, DIM, bias=False)))

    def forward(self, batch: Batch, layouts: Sequence[str] = ("pooled",)) -> Features:
        ids, mask = batch["input_ids"], batch["attention_mask"].unsqueeze(-1)
        words = self.module[0](ids) * mask
        return Features(self.module[1](words.sum(1) / mask.sum(1)))

    def example_inputs(self, batch_size: int = 2) -> Batch:
        ones = torch.ones(batch_size, 4, dtype=torch.int64)
        return {"input_ids": ones, "attention_mask": ones}


class Pair(nn.Module):
    modalities = ("image", "text")

    def __init__(self, spec: ModelSpec, input: InputSpec) -> None:
        super().__init__()
        image, text = (dataclasses.replace(part, assets=part.assets or input.assets) for part in input.parts)
        self.spec, self.input, self.dim = spec, input, DIM
        self.towers: Any = nn.ModuleDict({"image": ImageTower(spec, image), "text": TextTower(spec, text)})
        self.logit_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.logit_bias = None

    @property
    def module(self) -> nn.Module:
        return self

    def encode(self, modality: str, batch: Batch) -> Tensor:
        return F.normalize(self.towers[modality](batch).pooled, dim=-1)

    def forward(self, batch: Batch, layouts: Sequence[str] = ("pooled",)) -> Features:
        return Features(torch.stack([self.encode(side, pairs.side_of(batch, side)) for side in self.modalities], 1))

    def layer_groups(self) -> LayerGroups:
        return [("all", list(self.named_parameters()))]

    def example_inputs(self, batch_size: int = 2) -> Batch:
        return {
            f"{side}.{name}": value
            for side, tower in self.towers.items()
            for name, value in tower.example_inputs(batch_size).items()
        }


def tower_state(state: Mapping[str, Tensor], modality: str) -> dict[str, Tensor]:
    start = f"towers.{modality}.module."
    return {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}


def image_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return tower_state(state, "image")


def text_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return tower_state(state, "text")


def build(spec: ModelSpec, input: InputSpec, weights: Any, state: Any, *, kind: str) -> Any:
    made = {"pair": Pair, "image": ImageTower, "text": TextTower}[kind](spec, input)
    if state is not None:
        made.module.load_state_dict(state)
    return made


class Plugin:
    @hookimpl
    def zoo_models(self) -> list[ModelSpec]:
        builder = "tower_toys:build"
        pair = InputSpec(modality="image-text", parts=(PICTURE, TEXT))
        return [
            ModelSpec(
                name="toy-pair",
                builder=builder,
                pipeline="zoo.pairs:PairPipeline",
                input=pair,
                towers=TOWERS,
                tower_state="tower_toys:tower_state",
                options={"kind": "pair"},
                **SPEC_FIELDS,
            ),
            ModelSpec(
                name="toy-image",
                builder=builder,
                pipeline=VISION,
                input=PICTURE,
                options={"kind": "image"},
                **SPEC_FIELDS,
            ),
            ModelSpec(
                name="toy-text", builder=builder, pipeline=LANGUAGE, input=TEXT, options={"kind": "text"}, **SPEC_FIELDS
            ),
            ModelSpec(
                name="toy-alone",
                builder=builder,
                pipeline=VISION,
                input=PICTURE,
                options={"kind": "image"},
                **SPEC_FIELDS,
            ),
        ]

    @hookimpl
    def zoo_weights(self) -> list[WeightsSpec]:
        remaps = {"toy-pair": "", "toy-image": "image_state", "toy-text": "text_state", "toy-alone": "image_state"}
        return [
            WeightsSpec(
                model=name,
                tag="made",
                sources=(f"package:{PACKAGE}/model.safetensors",),
                remap=remap and f"tower_toys:{remap}",
                companions=("tokenizer.json",),
            )
            for name, remap in remaps.items()
        ]


def toy_registry() -> Registry:
    return build_registry([("toys", Plugin())])


def picture(kind: int, number: int) -> np.ndarray:
    """(28, 30, 3) uint8: each class has its own pattern and tint, under noise."""
    draw = np.random.default_rng([kind, number])
    rows, columns = np.mgrid[:28, :30] + draw.integers(8)
    pattern = (columns // 3 % 2, ((rows // 4 + columns // 4) % 2) * 0.5, rows // 3 % 2)[kind]
    tint = np.array([[150, 60, 60], [60, 150, 60], [60, 60, 150]])[kind]
    return (pattern[..., None] * tint + draw.integers(0, 90, (28, 30, 3))).clip(0, 255).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def write_pictures(folder: Path, train: int = 8, val: int = 5) -> Path:
    """Class folders of PNG files."""
    for split, count, start in (("train", train, 0), ("val", val, 1000)):
        for kind, name in enumerate(CLASSES):
            place = folder / split / name
            place.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(picture(kind, start + i)).save(place / f"{i}.png")
    return folder


def write_weights(folder: Path, steps: int = 60) -> Path:
    """Weights of the pair after a little contrastive training, which tells the classes apart but not perfectly; with
    the tokenizer, as a package whose parent has to be on ``sys.path``."""
    folder = folder / PACKAGE
    write_tokenizer(folder, WORDS)
    (folder / "__init__.py").touch()
    registry = toy_registry()
    torch.manual_seed(0)
    loaded = load_backbone("toy-pair", weights="none", registry=registry)
    pair: Any = loaded.backbone
    image = pipeline_for("toys/toy-image", PICTURE, registry)
    text = pipeline_for("toys/toy-text", dataclasses.replace(TEXT, assets=str(folder)), registry)
    names = ["a photo of a bar code.", "a drawing of a dot.", "a photo of the sea grass."]
    ids = [torch.from_numpy(text.decode(name)) for name in names]
    length = torch.tensor([len(one) for one in ids])
    padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
    texts = text.prepare({text.input_name: padded, "length": length, "index": torch.arange(3)})
    optimizer = torch.optim.Adam(pair.parameters(), 1e-2)
    for step in range(steps):
        arrays = [image.decode(png(picture(i % 3, 5000 + step * 6 + i))) for i in range(6)]
        batch = image.prepare({"image": torch.from_numpy(np.stack(arrays)), "index": torch.arange(6)})
        logits = pair.logit_scale.exp() * pair.encode("image", batch) @ pair.encode("text", texts).T
        loss = F.cross_entropy(logits, torch.arange(6) % 3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    save_file({name: value.contiguous() for name, value in pair.state_dict().items()}, folder / "model.safetensors")
    return folder


def write_run(folder: Path) -> Path:
    """A finished run of pairs, whose weights are not those of the tag."""
    loaded = load_backbone("toy-pair", registry=toy_registry())
    backbone: Any = loaded.backbone
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.mul_(1.01)
    return leave_run(folder, loaded)


def leave_run(folder: Path, loaded: LoadedBackbone) -> Path:
    """What ``zoo pretrain`` leaves of a pair."""
    write_tokenizer(folder / "model", WORDS)
    parts = tuple(dataclasses.replace(part, assets="") for part in loaded.input.parts)
    input = dataclasses.replace(loaded.input, assets="", parts=parts)
    meta = {"model_id": loaded.model_id, "objective": "toys/none", "input": input_dict(input)}
    save_trained(folder / "model", {"backbone": loaded.backbone.module}, meta)
    (folder / "manifest.json").write_text('{"verb": "pretrain", "status": "finished"}')
    (folder / "config.yaml").write_text("model: toy-pair\n")
    return folder


if __name__ == "__main__":
    from zoo.cli.main import run

    sys.modules["tower_toys"] = sys.modules["__main__"]
    sys.path.insert(0, sys.argv[1])
    torch.set_num_threads(1)  # as the tests: the last bits of sums depend on it
    found = toy_registry()
    zoo.default_registry = lambda: found  # type: ignore[assignment]
    sys.exit(run(sys.argv[2:]))
