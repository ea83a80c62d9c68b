"""Tiny real tasks without a modality, and batches for them: what the engine is tested with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.engine.checkpoint import Checkpoints
from zoo.engine.config import EngineConfig
from zoo.engine.logger import Logger
from zoo.engine.loop import FitResult, fit
from zoo.engine.optim import layerwise_groups
from zoo.engine.runtime import Runtime
from zoo.protocols import Batch


class Accuracy:
    """Fraction of rows whose largest logit is at the label, over all processes."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.right = torch.zeros(2)

    def to(self, device: torch.device) -> Accuracy:
        self.right = self.right.to(device)
        return self

    def update(self, logits: Tensor, batch: Batch) -> None:
        right = (logits.argmax(-1) == batch["label"]).float()
        self.right += torch.stack([right.sum(), torch.tensor(float(right.numel()), device=right.device)])

    def compute(self) -> dict[str, float]:
        total = self.right.clone()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(total)
        return {"accuracy": float(total[0] / total[1])}


class Toy(nn.Module):
    """A classifier over whatever ``body`` makes of ``batch["x"]``."""

    phases: tuple[str, ...] = ("main",)
    batch_coupled = False
    monitor = ("accuracy", "max")

    def __init__(self, body: nn.Module, width: int = 8, classes: int = 3) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(width, classes)

    def logits(self, batch: Batch) -> Tensor:
        return self.head(self.body(batch["x"]))

    def forward(self, batch: Batch, phase: str = "main") -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor | None]:
        logits = self.logits(batch)
        loss = F.cross_entropy(logits.float(), batch["label"], reduction="sum")
        return loss, torch.tensor(len(logits), device=logits.device), {"peak": logits.max()}, logits

    def layer_groups(self, phase: str = "main") -> list[tuple[str, list[tuple[str, nn.Parameter]]]]:
        named = list(self.named_parameters())
        return [
            ("body", [pair for pair in named if pair[0].startswith("body")]),
            ("head", [pair for pair in named if pair[0].startswith("head")]),
        ]

    def metrics(self) -> Accuracy:
        return Accuracy()

    def after_step(self, step: int, total: int) -> None: ...


def mlp(dropout: float = 0.0) -> Toy:
    torch.manual_seed(0)
    return Toy(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(dropout)))


def conv(dropout: float = 0.0, momentum: float = 0.1) -> Toy:
    """(B, 2, 4, 4) -> batch-normalised convolution."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8, momentum=momentum), nn.ReLU(), nn.Dropout(dropout)]
    return Toy(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()))


class Tokens(Toy):
    """Labels every token; rows have unequal lengths, padding carries label -1 and does not count."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(nn.Sequential(nn.Embedding(12, 8), nn.Tanh()))

    def forward(self, batch: Batch, phase: str = "main") -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor | None]:
        logits = self.logits(batch)  # (B, N, C)
        labels = batch["label"]
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-1, reduction="sum")
        return loss, (labels >= 0).sum(), {}, logits


class Rows:
    """In-memory batches for training and evaluation. The order of an epoch is a function of (seed, epoch)."""

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        batch_size: int,
        seed: int = 0,
        noise: float = 0.0,
        each: Callable[[int], None] = lambda step: None,
    ) -> None:
        self.tensors = {**tensors, "index": torch.arange(len(tensors["label"]))}
        self.samples = len(tensors["label"])
        self.batch_size, self.seed, self.noise, self.each = batch_size, seed, noise, each
        self.steps_per_epoch = max(1, self.samples // batch_size)

    def _take(self, rows: Tensor) -> Batch:
        return {name: tensor[rows] for name, tensor in self.tensors.items()}


class TrainRows(Rows):
    def stream(self, start: int, stop: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        for step in range(start, stop):
            epoch, place = divmod(step, self.steps_per_epoch)
            order = torch.randperm(self.samples, generator=torch.Generator().manual_seed(self.seed + epoch))
            self.each(step)
            yield self._take(order[place * self.batch_size : (place + 1) * self.batch_size][rank::world])

    def transform(self, batch: Batch, epoch: int) -> Batch:
        if not self.noise:
            return batch
        shift = torch.sin(batch["index"].float() * 12.9 + epoch)  # per sample, stateless
        return {**batch, "x": batch["x"] + self.noise * shift.view(-1, *[1] * (batch["x"].ndim - 1))}


class EvalRows(Rows):
    def stream(self, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        rows = torch.arange(self.samples)[rank::world]
        for number, piece in enumerate(rows.split(self.batch_size)):
            self.each(number)
            yield self._take(piece)

    def transform(self, batch: Batch) -> Batch:
        return batch


def vectors(samples: int = 48, seed: int = 1) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    label = torch.randint(3, (samples,), generator=draw)
    x = torch.randn(samples, 6, generator=draw)
    x[torch.arange(samples), label] += 2.0
    return {"x": x, "label": label}


def images(samples: int = 48, seed: int = 1) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    label = torch.randint(3, (samples,), generator=draw)
    x = 3 + 2 * torch.randn(samples, 2, 4, 4, generator=draw) + label.view(-1, 1, 1, 1)
    return {"x": x, "label": label}


def sentences(samples: int = 24, seed: int = 1) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randint(12, (samples, 7), generator=draw)
    label = x % 3
    for row in range(samples):
        label[row, 1 + row % 7 :] = -1
    return {"x": x, "label": label}


def run(task: Any, train: Any, val: Any, folder: Path, **options: Any) -> FitResult:
    """``fit`` with the defaults of these tests: every step logged, nothing printed."""
    keywords = {key: options.pop(key) for key in ("resume", "stage", "identity") if key in options}
    runtime = options.pop("runtime", None) or Runtime.create(device=options.pop("device", "cpu"))
    groups = {
        phase: layerwise_groups(task.layer_groups(phase), weight_decay=0.05, layer_decay=0.7) for phase in task.phases
    }
    config = EngineConfig(**{"log_every": 1, "lr": 0.05, **options})
    return fit(
        task,
        train,
        val,
        config,
        groups,
        runtime=runtime,
        checkpoints=Checkpoints(folder / "checkpoints"),
        logger=Logger(folder, quiet=True),
        **keywords,
    )
