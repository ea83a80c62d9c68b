"""A tiny contrastive task, and what every process of its distributed test runs."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from engine_toys import EvalRows, TrainRows, run
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.engine.runtime import Runtime
from zoo.protocols import Batch


class Pairs(nn.Module):
    """Two towers over ``batch["x"]`` and ``batch["y"]``; softmax over the cosines both ways, with a learnt scale."""

    phases: tuple[str, ...] = ("main",)
    batch_coupled = True
    monitor = ("loss", "min")

    def __init__(self, dropout: float = 0.0, norm: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        body = [nn.Linear(6, 8), *([nn.BatchNorm1d(8)] if norm else []), nn.Tanh(), nn.Dropout(dropout)]
        self.one = nn.Sequential(*body, nn.Linear(8, 5))
        self.other = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 5))
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.seen: list[tuple[bool, int]] = []

    def forward(self, batch: Batch, phase: str = "main") -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor | None]:
        self.seen.append((torch.is_grad_enabled(), len(batch["x"])))
        vectors = F.normalize(torch.stack([self.one(batch["x"]), self.other(batch["y"])], dim=1), dim=-1)
        if phase == "vectors":
            return vectors.new_zeros(()), vectors.new_zeros(()), {}, vectors
        loss, count, logs = self.couple(vectors)
        return loss, count, logs, vectors

    def couple(self, vectors: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        logits = self.scale.exp() * vectors[:, 0] @ vectors[:, 1].T
        target = torch.arange(len(vectors))
        loss = F.cross_entropy(logits, target, reduction="sum") + F.cross_entropy(logits.T, target, reduction="sum")
        return loss / 2, torch.tensor(float(len(vectors))), {"scale": self.scale.exp()}

    def layer_groups(self, phase: str = "main") -> list[tuple[str, list[tuple[str, nn.Parameter]]]]:
        return [("all", list(self.named_parameters()))]

    def metrics(self) -> Nothing:
        return Nothing()

    def after_step(self, step: int, total: int) -> None: ...


class Nothing:
    """No metrics but the loss."""

    def reset(self) -> None: ...

    def update(self, logits: Tensor, batch: Batch) -> None: ...

    def to(self, device: torch.device) -> Nothing:
        return self

    def compute(self) -> dict[str, float]:
        return {}


def pairs(samples: int = 45, seed: int = 1) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, 6, generator=draw)
    return {"x": x, "y": x[:, :4].tanh(), "label": torch.zeros(samples, dtype=torch.long)}


def data(batch_size: int = 15) -> tuple[TrainRows, EvalRows]:
    return TrainRows(pairs(), batch_size), EvalRows(pairs(20, 2), 10)


CASES = {"whole": {}, "micro": {"micro_batch": 4}, "ema": {"micro_batch": 2, "ema": 0.9, "clip_norm": 0.5}}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    runtime = Runtime.create(device="cpu")
    for name, options in CASES.items():
        run(Pairs(), *data(), folder / name, runtime=runtime, steps=6, **options)
    run(task := Pairs(norm=True), *data(18), folder / "norm", runtime=runtime, steps=4, micro_batch=3)
    same = runtime.gather_rows(torch.cat([task.one[1].running_mean, task.one[1].running_var])[None])
    mine, place = runtime.gather_with_place(torch.full((2 + runtime.rank,), runtime.rank))
    assert (mine[place] == runtime.rank).all()
    assert place.stop - place.start == 2 + runtime.rank
    if runtime.is_main:
        save_file({"statistics": same, "gathered": mine}, folder / "out.safetensors")
    runtime.barrier()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
