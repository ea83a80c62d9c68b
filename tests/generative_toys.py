"""Tiny networks and pictures for the tests of objectives that make images, and runs of theirs."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file

from zoo.cli.main import run
from zoo.data.draws import HashDraws
from zoo.protocols import Batch
from zoo_registry.specs import InputSpec, ModelSpec
from zoo_vision.pipeline import ImagePipeline
from zoo_vision.timm_backbone import TimmBackbone, build_timm

TINY = ["--size", "32", "--device", "cpu", "--batch-size", "8"]


def contract(size: int = 32) -> InputSpec:
    return InputSpec(modality="image", size=(3, size, size), mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


def network(name: str, size: int = 32, seed: int = 0, **options: Any) -> TimmBackbone:
    """A timm model with random weights."""
    torch.manual_seed(seed)
    layouts = ("pooled", "tokens", "grid")
    spec = ModelSpec(name=name, builder="a:b", pipeline="a:b", input=contract(size), layouts=layouts)
    return build_timm(spec, contract(size), **options)


def config(**options: Any) -> Any:
    return SimpleNamespace(seed=7, options=options)


def canvases(count: int = 8, size: int = 32) -> Batch:
    """Decoded pictures as a store gives them: smooth, so that there is something to learn."""
    shape = ImagePipeline(contract(size)).shape
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(5))
    pictures = torch.nn.functional.interpolate(coarse, size=shape[1:], mode="bilinear")
    return {"image": (pictures * 255).to(torch.uint8), "index": torch.arange(count)}


def augmented(view: Any, batch: Batch, epoch: int = 0) -> Batch:
    return view.augment(batch, HashDraws(7, epoch, batch["index"]))


def rows(batch: Batch, chosen: slice) -> Batch:
    return {name: tensor[chosen] for name, tensor in batch.items()}


def gradients(task: Any, view: Any, batch: Batch, pieces: int, phase: str = "main") -> dict[str, torch.Tensor]:
    """The loss, its count and the gradient of every parameter, the batch taken in so many pieces."""
    task.zero_grad(set_to_none=True)
    loss_sum, count_sum, size = torch.zeros(()), torch.zeros(()), len(batch["index"]) // pieces
    for start in range(0, len(batch["index"]), size):
        loss, count, _, _ = task(augmented(view, rows(batch, slice(start, start + size))), phase)
        loss.backward()
        loss_sum, count_sum = loss_sum + loss.detach(), count_sum + count
    grads = {name: p.grad.clone() for name, p in task.named_parameters() if p.grad is not None}
    return {"loss": loss_sum, "count": count_sum, **grads}


def same_in_pieces(task: Any, view: Any, batch: Batch, phase: str = "main") -> None:
    """One piece and four give one loss and one gradient."""
    whole, cut = (gradients(task, view, batch, pieces, phase) for pieces in (1, 4))
    assert whole.keys() == cut.keys()
    for name, value in whole.items():
        torch.testing.assert_close(cut[name], value, rtol=1e-4, atol=1e-4, msg=lambda text, name=name: f"{name} {text}")


def pretrain(model: str, objective: str, data: Path, out: Path, *options: str) -> int:
    """Exit code of ``zoo pretrain`` on the tiny model."""
    return run(
        ["pretrain", model, "--objective", objective, "--data", str(data), "-o", str(out), *TINY, *options],
    )


def metrics(out: Path) -> dict[str, float]:
    return json.loads((out / "manifest.json").read_text())["metrics"]


def saved(out: Path) -> dict[str, torch.Tensor]:
    """Everything the last checkpoint holds."""
    folder = out / "checkpoints" / "last"
    return {f"{p.stem}/{key}": value for p in folder.glob("*.safetensors") for key, value in load_file(p).items()}


def learns(task: Any, given: Batch) -> bool:
    """Whether 40 steps on one batch leave less than 0.7 of the error of the mean target."""
    task.fit_data([given])
    optimizer = torch.optim.AdamW(task.parameters(), lr=5e-3)
    for _ in range(40):
        optimizer.zero_grad()
        loss, count, _, sums = task(given)
        (loss / count).backward()
        optimizer.step()
    return float(sums[:, 0].sum()) < 0.7 * float(sums[:, 2].sum())
