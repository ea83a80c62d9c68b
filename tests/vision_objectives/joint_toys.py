"""A small backbone without batch statistics, pictures of it, and the engine, for the joint-embedding objectives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from zoo.data.draws import HashDraws
from zoo.engine.checkpoint import Checkpoints
from zoo.engine.config import EngineConfig
from zoo.engine.logger import Logger
from zoo.engine.loop import FitResult, fit
from zoo.engine.optim import layerwise_groups
from zoo.engine.runtime import Runtime
from zoo.protocols import Batch, Features
from zoo_registry.specs import InputSpec, ModelSpec
from zoo_vision.objectives.byol import build_byol, byol_view
from zoo_vision.objectives.dino import build_dino, dino_view
from zoo_vision.objectives.simclr import build_simclr, simclr_view
from zoo_vision.objectives.vicreg import build_vicreg, vicreg_view
from zoo_vision.pipeline import ImagePipeline

INPUT = InputSpec(modality="image", size=(3, 12, 12), mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3), crop_pct=0.8)
PIPELINE = ImagePipeline(INPUT)
CLASSES = ("bar", "dot")
SMALL = {
    "simclr": {"hidden": 9, "width": 5},
    "vicreg": {"width": 7},
    "byol": {"hidden": 9, "width": 5, "momentum": 0.8},
    "dino": {"hidden": 9, "bottleneck": 6, "prototypes": 11, "local_views": 2, "momentum": 0.8, "freeze": 0.0},
}
BUILDERS = {
    "simclr": (build_simclr, simclr_view),
    "vicreg": (build_vicreg, vicreg_view),
    "byol": (build_byol, byol_view),
    "dino": (build_dino, dino_view),
}


class Toy(nn.Module):
    """(B, 3, H, W) -> 6 features, from any H and W."""

    def __init__(self, norm: bool = False, constant: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.module = nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.BatchNorm2d(6) if norm else nn.Identity(), nn.GELU())
        self.dim, self.input, self.constant = 6, INPUT, constant
        self.spec = ModelSpec(name="toy", builder="a:b", pipeline="a:b", input=INPUT)

    def forward(self, batch: Batch, layouts: Any = ("pooled",)) -> Features:
        pooled = self.module(batch["image"]).flatten(2).std(dim=2)
        return Features(pooled=pooled * 0 + self.module[0].bias if self.constant else pooled)

    def layer_groups(self) -> list[tuple[str, list[tuple[str, nn.Parameter]]]]:
        return [("all", list(self.named_parameters()))]


def config(**options: Any) -> Any:
    return SimpleNamespace(options=options, seed=3)


def built(name: str, backbone: Any = None, classes: tuple[str, ...] = CLASSES, **options: Any) -> Any:
    backbone = Toy() if backbone is None else backbone
    torch.manual_seed(1)
    return BUILDERS[name][0](backbone, PIPELINE, config(**{**SMALL[name], **options}), classes)


def canvases(samples: int, seed: int = 0) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (samples, *PIPELINE.shape), generator=draw, dtype=torch.uint8)
    return {"image": image, "label": torch.arange(samples) % 2, "index": torch.arange(samples)}


def view(name: str, **options: Any) -> Any:
    return BUILDERS[name][1](PIPELINE, config(**{**SMALL[name], **options}))


def batch_of(name: str, samples: int = 6, epoch: int = 0) -> Batch:
    batch = canvases(samples)
    return view(name).augment(batch, HashDraws(0, epoch, batch["index"]))


class Pictures:
    """Batches of canvases, for training and evaluation alike."""

    def __init__(self, name: str, samples: int, batch_size: int) -> None:
        self.tensors, self.view = canvases(samples, samples), view(name)
        self.samples, self.batch_size = samples, batch_size
        self.steps_per_epoch = samples // batch_size


class TrainPictures(Pictures):
    def stream(self, start: int, stop: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        for step in range(start, stop):
            epoch, place = divmod(step, self.steps_per_epoch)
            order = torch.randperm(self.samples, generator=torch.Generator().manual_seed(epoch))
            rows = order[place * self.batch_size : (place + 1) * self.batch_size][rank::world]
            yield {name: tensor[rows] for name, tensor in self.tensors.items()}

    def transform(self, batch: Batch, epoch: int) -> Batch:
        return self.view.augment(batch, HashDraws(0, epoch, batch["index"]))


class EvalPictures(Pictures):
    def stream(self, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        for rows in torch.arange(self.samples)[rank::world].split(self.batch_size):
            yield {name: tensor[rows] for name, tensor in self.tensors.items()}

    def transform(self, batch: Batch) -> Batch:
        return self.view.prepare(batch)


def groups_of(task: Any) -> dict[str, Any]:
    return {phase: layerwise_groups(task.layer_groups(phase), weight_decay=0.05) for phase in task.phases}


def train(name: str, task: Any, folder: Path, resume: bool = False, runtime: Any = None, **settings: Any) -> FitResult:
    """``fit`` on 20 pictures in batches of 10, with every step logged; 9 are evaluated on."""
    return fit(
        task,
        TrainPictures(name, 20, 10),
        EvalPictures(name, 9, 4),
        EngineConfig(**{"log_every": 1, "lr": 0.05, "optimizer": "sgd", "steps": 4, **settings}),
        groups_of(task),
        runtime=runtime or Runtime.create(device="cpu"),
        checkpoints=Checkpoints(folder / "checkpoints"),
        logger=Logger(folder, quiet=True),
        resume=resume,
    )


def last(folder: Path) -> dict[str, dict[str, Tensor]]:
    """All tensors of the last checkpoint."""
    return Checkpoints(folder / "checkpoints").load("last")[0]


def losses(folder: Path, event: str = "train") -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["event"] == event]
