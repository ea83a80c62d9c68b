from __future__ import annotations

from pathlib import Path

import pytest
import torch
from engine_toys import EvalRows, Toy, TrainRows, conv, images, run

from zoo.engine.batchnorm import momentum_for
from zoo.engine.checkpoint import Checkpoints, assign


def losses(task: Toy) -> tuple[float, float]:
    """Mean loss of the training data with batch statistics, and with running ones."""
    batch = next(EvalRows(images(), 48).stream())
    found = []
    kept = {name: tensor.clone() for name, tensor in task.state_dict().items()}
    for mode in (True, False):
        task.train(mode)
        with torch.no_grad():
            loss, count, _, _ = task(batch)
        found.append(float(loss / count))
    assign(task, kept)
    return found[0], found[1]


def trained(folder: Path, steps: int) -> Toy:
    task = conv(momentum=0.01)
    run(task, TrainRows(images(), 16), EvalRows(images(30, 2), 8), folder, steps=steps)
    assign(task, Checkpoints(folder / "checkpoints").load("last")[0]["model"])
    return task


def test_statistics_are_not_stale_after_a_short_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After 12 steps of a layer built with momentum 0.01, evaluation agrees with training; left alone it does not."""
    task = trained(tmp_path / "fitted", 12)
    train_loss, eval_loss = losses(task)
    assert abs(eval_loss - train_loss) < 0.1
    assert task.body[1].momentum == 0.01
    monkeypatch.setattr("zoo.engine.batchnorm.momentum_for", lambda own, *_: own)
    train_loss, eval_loss = losses(trained(tmp_path / "stale", 12))
    assert eval_loss - train_loss > 0.5


@pytest.mark.parametrize(("steps", "per_epoch", "pieces"), [(100, 20, 1), (100, 20, 4), (10, 50, 1), (1, 1, 1)])
def test_momentum_forgets_within_an_epoch(steps: int, per_epoch: int, pieces: int) -> None:
    momentum = momentum_for(0.01, steps, per_epoch, pieces)
    span = max(1, min(per_epoch, steps // 2)) * pieces
    assert (1 - momentum) ** span == pytest.approx(0.05)


def test_momentum_never_falls_below_the_layers_own() -> None:
    assert momentum_for(0.1, 10**6, 10**5) == pytest.approx(0.1)
    assert (1 - momentum_for(0.1, 10**6, 10**5, 4)) ** 4 == pytest.approx(0.9)
    assert momentum_for(None, 100, 20) == pytest.approx(1 - 0.05 ** (1 / 20))


def test_frozen_keeps_statistics_and_trains_the_affine(tmp_path: Path) -> None:
    task = conv()
    norm = task.body[1]
    before = norm.running_mean.clone(), norm.running_var.clone(), norm.num_batches_tracked.clone()
    weight = norm.weight.detach().clone()
    run(task, TrainRows(images(), 16), EvalRows(images(30, 2), 8), tmp_path, steps=4, batchnorm="frozen")
    assert all(
        torch.equal(one, two)
        for one, two in zip(before, (norm.running_mean, norm.running_var, norm.num_batches_tracked), strict=True)
    )
    assert not torch.equal(norm.weight, weight)
