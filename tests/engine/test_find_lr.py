"""The learning-rate range test: it finds the fall, is repeated exactly, and leaves nothing behind."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from engine_coupled import Pairs, data
from engine_toys import EvalRows, Toy, TrainRows, conv, images, mlp, vectors
from engine_toys import run as fit
from finetuning import TINY, finetune, write_photos

import zoo.engine.find_lr as module
import zoo.engine.loop as loop
from zoo.cli.main import run as cli
from zoo.engine.config import EngineConfig
from zoo.engine.find_lr import Search, broken, find_lr, smooth, steepest, valley
from zoo.engine.optim import layerwise_groups
from zoo.engine.runtime import Runtime
from zoo.engine.signals import StopSignals
from zoo_registry.errors import Terminated


class Adversaries(Toy):
    """Two phases with a loss each."""

    phases = ("body", "head")

    def forward(self, batch: Any, phase: str = "body") -> Any:
        loss, count, logs, logits = super().forward(batch)
        return loss if phase == "body" else 2 * loss, count, logs, logits

    def layer_groups(self, phase: str = "body") -> Any:
        return [group for group in super().layer_groups() if group[0] == phase]


def adversaries() -> Toy:
    torch.manual_seed(0)
    return Adversaries(torch.nn.Linear(6, 8))


def search(task: Any, train: Any, steps: int = 400, **options: Any) -> Search:
    groups = {phase: layerwise_groups(task.layer_groups(phase), weight_decay=0.05) for phase in task.phases}
    config = EngineConfig(steps=steps, lr=0.05, **options)
    return find_lr(task, train, config, groups, runtime=Runtime.create(device="cpu"))


def state(task: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in [*task.named_parameters(), *task.named_buffers()]}


TASKS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "plain": lambda: (mlp(dropout=0.2), TrainRows(vectors(), 16, noise=0.1)),
    "batch norm": lambda: (conv(dropout=0.2), TrainRows(images(), 16)),
    "two phases": lambda: (adversaries(), TrainRows(vectors(), 16)),
    "coupled": lambda: (Pairs(dropout=0.2, norm=True), data(16)[0]),
}


@pytest.mark.parametrize("name", TASKS)
def test_nothing_is_left_behind_and_the_search_repeats(name: str) -> None:
    task, train = TASKS[name]()
    task.register_buffer("unsaved", torch.zeros(2), persistent=False)
    task.after_step = lambda step, total: task.unsaved.add_(1)
    before, random = state(task), torch.get_rng_state()
    found = search(task, train, micro_batch=4)
    assert len(found.rates) > 10
    assert found.rates[0] == 1e-6
    assert all(torch.equal(tensor, before[key]) for key, tensor in state(task).items())
    assert torch.equal(torch.get_rng_state(), random)
    assert not task.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in task.parameters())
    assert search(task, train, micro_batch=4) == found


def test_the_suggestion_trains(tmp_path: Path) -> None:
    found = search(mlp(), TrainRows(vectors(), 16))
    assert found.valley is not None
    lowest = found.rates[int(np.argmin(found.smoothed))]
    assert found.rates[0] < found.valley < lowest
    assert found.steepest is not None
    reached = [
        fit(
            mlp(), TrainRows(vectors(), 16), EvalRows(vectors(), 16), tmp_path / f"{by}", steps=12, lr=found.valley * by
        )
        for by in (0.01, 1)
    ]
    assert reached[1].metrics["loss"] < reached[0].metrics["loss"] - 0.05


def test_phases_rise_alike_and_their_losses_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = module.train_step

    def watched(run: Any, batch: Any) -> None:
        real(run, batch)
        seen.append({phase: optimizer.param_groups[0]["lr"] for phase, optimizer in run.optimizers.items()})

    monkeypatch.setattr(module, "train_step", watched)
    task = adversaries()
    train = TrainRows(vectors(), 16)
    first = next(iter(train.stream(0, 1)))
    with torch.no_grad():
        loss = float(task.eval()(first)[0]) / 16
    found = search(task, train)
    assert all(one["body"] == one["head"] for one in seen)
    assert [one["body"] for one in seen][: len(found.rates)] == pytest.approx(found.rates)
    assert found.losses[0] == pytest.approx(3 * loss, rel=1e-3)


def test_the_rates_follow_the_length_of_the_run() -> None:
    for steps, taken in ((8, 25), (200, 50), (4000, 100)):
        found = search(mlp(), TrainRows(vectors(), 16), steps=steps)
        expected = [10 ** (-6 + 6 * i / (taken - 1)) for i in range(len(found.rates))]
        assert found.rates == pytest.approx(expected)


def test_a_loss_that_is_not_finite_ends_the_search() -> None:
    class Blows(Toy):
        def forward(self, batch: Any, phase: str = "main") -> Any:
            loss, *rest = super().forward(batch)
            gone = (self.head.weight - self.start).abs().max() > 1e-3
            return torch.where(gone, loss * torch.nan, loss), *rest

    torch.manual_seed(0)
    task = Blows(torch.nn.Linear(6, 8))
    task.start = task.head.weight.detach().clone()
    found = search(task, TrainRows(vectors(), 16))
    assert found.broke
    assert all(math.isfinite(loss) for loss in found.losses)
    assert torch.equal(task.head.weight, task.start)


def test_a_signal_ends_it_with_the_weights_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    class Asked(StopSignals):
        def __init__(self) -> None:
            super().__init__()
            self.received = 15

    monkeypatch.setattr(module, "StopSignals", Asked)
    task = mlp()
    before = state(task)
    with pytest.raises(Terminated):
        search(task, TrainRows(vectors(), 16))
    assert all(torch.equal(tensor, before[key]) for key, tensor in state(task).items())


def test_smoothing_and_breaking_by_hand() -> None:
    assert smooth([1.0, 2.0, 4.0], 20) == pytest.approx([1.0, (0.5 + 2) / 1.5, (0.25 + 1 + 4) / 1.75])
    assert not broken([2.0, 1.0, 1.9])
    assert not broken([5.0, 0.1, 4.9])  # four times the lowest, but better than at first
    assert broken([2.0, 1.0, 4.1])
    assert not broken([0.0, -1.0, 1.9])
    assert broken([0.0, -1.0, 2.1])


def test_valley_against_a_slow_reference() -> None:
    draw = np.random.default_rng(0)
    for _ in range(20):
        losses = list(draw.normal(size=12).cumsum())
        best, last = 0, 0
        for subset in range(1, 2**12):
            places = [i for i in range(12) if subset >> i & 1]
            falling = all(losses[a] > losses[b] for a, b in itertools.pairwise(places))
            if falling and (len(places), -places[-1]) > (best, -last):
                best, last = len(places), places[-1]
        rates = [10.0**-i for i in range(12, 0, -1)]
        expected = rates[last - (best - 1) // 2] if best >= 3 else None
        assert valley(rates, losses) == (expected and pytest.approx(expected))
    assert valley([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) is None
    assert valley([], []) is None
    assert steepest([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [9.0, 8.9, 8.0, 5.0, 4.9, 9.0]) == 3.0
    assert steepest([1.0, 2.0], [1.0, 2.0]) is None


def config_of(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "config.yaml").read_text())


def test_a_run_uses_and_records_what_was_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = write_photos(tmp_path / "photos")
    out = tmp_path / "run"
    assert finetune(photos, out, "--find-lr", "--strategy", "lp-ft", "--epochs", "2", "--head-epochs", "2") == 0
    kept = json.loads((out / "lr_finder.json").read_text())
    config = config_of(out)
    assert config["lr"] == kept["lr"]
    assert config["find_lr"] is False
    assert (out / "lr_finder.svg").read_text().startswith("<svg")
    assert "learning rate: searching" in capsys.readouterr().err
    assert "Loss while the learning rate rises" in (out / "report.html").read_text()
    peak = max(json.loads(line).get("lr", 0) for line in (out / "metrics.jsonl").read_text().splitlines())
    assert 0 < peak <= kept["lr"]
    again = ["finetune", "--config", str(out / "config.yaml"), "--output", str(tmp_path / "again")]
    assert cli(again) == 0
    assert not (tmp_path / "again" / "lr_finder.json").exists()
    one, other = ((folder / "model" / "head.safetensors").read_bytes() for folder in (out, tmp_path / "again"))
    assert one == other


def stop(*args: Any) -> None:
    raise Terminated("Stopped.", "Go on.")


def test_a_stopped_run_goes_on_with_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the search it searches again and finds the same; stopped after it, it does not search."""
    photos = write_photos(tmp_path / "photos")
    options = ("--find-lr", "--strategy", "full", "--epochs", "2")
    assert finetune(photos, tmp_path / "whole", *options) == 0
    whole = (tmp_path / "whole" / "model" / "backbone.safetensors").read_bytes()
    for name, owner in (("within", module), ("after", loop)):
        out = tmp_path / name
        with monkeypatch.context() as patch:
            patch.setattr(owner, "train_step", stop)
            assert finetune(photos, out, *options) == 143
        assert (config_of(out)["lr"] is None) == (name == "within")
        assert cli(["finetune", "--resume", str(out)]) == 0
        assert (out / "model" / "backbone.safetensors").read_bytes() == whole


def test_pretraining_searches_too(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", train=10, val=2)
    start = ["pretrain", "test_resnet", "--data", str(photos), "--objective", "denoising", *TINY, "--find-lr"]
    assert cli([*start, "--epochs", "1", "--batch-size", "8", "--output", str(tmp_path / "run")]) == 0
    assert config_of(tmp_path / "run")["lr"] == json.loads((tmp_path / "run" / "lr_finder.json").read_text())["lr"]


def test_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = write_photos(tmp_path / "photos", train=2, val=1)
    assert finetune(photos, tmp_path / "a", "--find-lr", "--lr", "0.1") == 2
    assert "--find-lr searches the learning rate, and --lr gives one." in capsys.readouterr().err
    assert finetune(photos, tmp_path / "b", "--find-lr", "--strategy", "head") == 2
    assert "nothing end to end" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()
