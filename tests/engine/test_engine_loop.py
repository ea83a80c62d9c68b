from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_toys import EvalRows, Tokens, Toy, TrainRows, conv, images, mlp, run, sentences, vectors
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.engine.checkpoint import Checkpoints
from zoo.engine.schedule import ema_decay, lr_factor
from zoo_registry.errors import PluginError, UsageError, ZooError


def curve(folder: Path, name: str = "loss", event: str = "train") -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if line["event"] == event]


def test_equals_a_naive_loop(tmp_path: Path) -> None:
    """Weights and average after 9 steps against the textbook loop: mean loss, one batch, plain AdamW."""
    task, slow = mlp(), mlp()
    train = TrainRows(vectors(), 16, noise=0.1)
    run(task, train, EvalRows(vectors(20, 2), 8), tmp_path, steps=9, ema=0.8, clip_norm=0.3, warmup=0.3)
    named = dict(slow.named_parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": [p], "lr_scale": 1.0 if name.startswith("head") else 0.7, "weight_decay": 0.05 * (p.ndim > 1)}
            for name, p in named.items()
        ],
        foreach=False,
    )
    average = {name: p.detach().clone() for name, p in named.items()}
    for step, batch in enumerate(train.stream(0, 9)):
        batch = train.transform(batch, step // train.steps_per_epoch)
        loss = F.cross_entropy(slow.logits(batch), batch["label"])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(slow.parameters(), 0.3)
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * group["lr_scale"] * lr_factor(step, 9, 0.3, "cosine")
        optimizer.step()
        decay = ema_decay(step + 1, 0.8)
        for name, p in named.items():
            average[name] = decay * average[name] + (1 - decay) * p.detach()
    saved = Checkpoints(tmp_path / "checkpoints").load("last")[0]
    for name, p in named.items():
        torch.testing.assert_close(saved["model"][name], p.detach(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(saved["ema"][name], average[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("micro", [8, 4, 5])
@pytest.mark.parametrize("kind", ["rows", "tokens"])
def test_micro_batches_do_not_change_the_loss_curve(tmp_path: Path, kind: str, micro: int) -> None:
    def go(folder: Path, **options: Any) -> list[float]:
        task, data = (mlp(), vectors()) if kind == "rows" else (Tokens(), sentences(48))
        run(task, TrainRows(data, 16), EvalRows(data, 16), folder, steps=8, **options)
        return curve(folder)

    whole, split = go(tmp_path / "1"), go(tmp_path / "2", micro_batch=micro)
    assert whole[-1] < whole[0] * 0.9
    assert split == pytest.approx(whole, abs=1e-6)


def test_best_weights_are_kept_and_given_back(tmp_path: Path) -> None:
    """Trained at a rate that wrecks it, a task ends with the weights of its best evaluation."""
    task, val = mlp(), EvalRows(vectors(30, 2), 8)
    result = run(task, TrainRows(vectors(), 16), val, tmp_path, steps=9, lr=5.0, schedule="constant", eval_first=True)
    assert [entry["step"] for entry in result.history] == [0, 3, 6, 9]
    top = max(entry["accuracy"] for entry in result.history)
    tied = [entry for entry in result.history if entry["accuracy"] == top]
    assert result.metrics["accuracy"] == top
    assert result.metrics["loss"] == min(entry["loss"] for entry in tied)
    assert result.best_step == min(tied, key=lambda entry: entry["loss"])["step"]
    batch = next(EvalRows(vectors(30, 2), 30).stream())
    assert (task.logits(batch).argmax(-1) == batch["label"]).float().mean() == pytest.approx(top)
    assert not task.training
    assert not result.stopped_early
    assert result.samples_per_second > 0


def test_ema_is_what_is_evaluated_and_kept(tmp_path: Path) -> None:
    task = conv()
    run(task, TrainRows(images(), 16), EvalRows(images(30, 2), 8), tmp_path, steps=3, ema=0.9)
    saved = Checkpoints(tmp_path / "checkpoints").load("last")[0]
    state = task.state_dict()
    for name, average in saved["ema"].items():
        assert torch.equal(state[name], average)
        assert not torch.equal(saved["model"][name], average)
    assert {"body.1.running_mean", "head.bias"} <= saved["ema"].keys()


def test_patience(tmp_path: Path) -> None:
    task = mlp()
    task.monitor = ("loss", "max")  # falls as the task learns: never better than at the start
    data = EvalRows(vectors(20, 2), 8)
    result = run(task, TrainRows(vectors(), 16), data, tmp_path, steps=50, eval_every=2, eval_first=True, patience=3)
    assert (result.steps, result.best_step, result.stopped_early) == (6, 0, True)
    again = run(task, TrainRows(vectors(), 16), data, tmp_path, steps=50, eval_every=2, eval_first=True, patience=3,
                resume=True)  # fmt: skip
    assert (again.steps, again.stopped_early, again.history) == (6, True, result.history)


class Breaks(Toy):
    """A loss that is NaN from the ``at``-th training forward pass on."""

    def __init__(self, at: int) -> None:
        super().__init__(nn.Sequential(nn.Linear(6, 8), nn.Tanh()))
        self.at, self.seen = at, 0

    def forward(self, batch: Any, phase: str = "main") -> Any:
        loss, *rest = super().forward(batch, phase)
        self.seen += self.training
        return (loss * float("nan") if self.training and self.seen >= self.at else loss, *rest)


@pytest.mark.parametrize("log_every", [1, 100])
def test_nan_stops_names_the_step_and_keeps_the_checkpoint(tmp_path: Path, log_every: int) -> None:
    data = EvalRows(vectors(20, 2), 8)
    with pytest.raises(ZooError, match="at step 5") as caught:
        run(Breaks(5), TrainRows(vectors(), 16), data, tmp_path, steps=12, log_every=log_every)
    assert "--lr" in caught.value.remedy
    for name in ("last", "best"):
        tensors, state = Checkpoints(tmp_path / "checkpoints").load(name)
        assert all(tensor.isfinite().all() for tensor in tensors["model"].values())
    assert state["step"] == 3


def test_a_metric_that_is_never_finite(tmp_path: Path) -> None:
    task = mlp()
    task.metrics = lambda: type("M", (type(mlp().metrics()),), {"compute": lambda self: {"accuracy": float("nan")}})()  # type: ignore[method-assign]
    with pytest.raises(ZooError, match="never finite"):
        run(task, TrainRows(vectors(), 16), EvalRows(vectors(20, 2), 8), tmp_path, steps=3)


def test_monitor_must_be_a_metric(tmp_path: Path) -> None:
    task = mlp()
    task.monitor = ("auroc", "max")
    with pytest.raises(ZooError, match=r"watches 'auroc'.*accuracy, loss"):
        run(task, TrainRows(vectors(), 16), EvalRows(vectors(20, 2), 8), tmp_path, steps=3)


def test_a_batch_without_targets_moves_nothing_much(tmp_path: Path) -> None:
    data = sentences()
    data["label"] = torch.full_like(data["label"], -1)
    task = Tokens()
    before = task.head.weight.detach().clone()
    run(task, TrainRows(data, 8), EvalRows(sentences(8), 8), tmp_path, steps=2)
    assert task.head.weight.isfinite().all()
    torch.testing.assert_close(task.head.weight, before, rtol=0.01, atol=0)  # weight decay alone


def test_usage_errors(tmp_path: Path) -> None:
    train, val = TrainRows(vectors(), 16), EvalRows(vectors(20, 2), 8)
    coupled = mlp()
    coupled.batch_coupled = True
    with pytest.raises(UsageError, match="couples"):
        run(coupled, train, val, tmp_path, steps=2, micro_batch=4)
    with pytest.raises(UsageError, match="fp16 needs a CUDA device"):
        run(mlp(), train, val, tmp_path, steps=2, precision="fp16")
    run(mlp(), train, val, tmp_path, steps=2)
    with pytest.raises(UsageError, match="already holds checkpoints"):
        run(mlp(), train, val, tmp_path, steps=2)
    lost = mlp()
    lost.extra = nn.Parameter(torch.zeros(1))
    with pytest.raises(PluginError, match="extra"):
        run(lost, train, val, tmp_path / "other", steps=2)


def test_bf16_compile_and_channels_last_follow_the_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module: plain(module, backend="eager"))  # no C++ compiler needed

    def go(name: str, **options: Any) -> list[float]:
        run(conv(), TrainRows(images(), 16), EvalRows(images(30, 2), 8), tmp_path / name, steps=6, **options)
        return curve(tmp_path / name)

    exact = go("exact")
    assert go("compiled", compile=True) == pytest.approx(exact, rel=1e-5)
    assert go("channels", channels_last=True) == pytest.approx(exact, rel=1e-4)
    assert go("bf16", precision="bf16") == pytest.approx(exact, rel=0.1)


def test_seed_decides_dropout(tmp_path: Path) -> None:
    def go(name: str, seed: int) -> list[float]:
        run(mlp(0.5), TrainRows(vectors(), 16), EvalRows(vectors(20, 2), 8), tmp_path / name, steps=4, seed=seed)
        return curve(tmp_path / name)

    torch.manual_seed(99)
    first = go("a", 0)
    torch.rand(7)
    assert go("b", 0) == first
    assert go("c", 1) != first


def test_sgd_learns(tmp_path: Path) -> None:
    data = EvalRows(vectors(40, 2), 8)
    result = run(mlp(), TrainRows(vectors(), 16), data, tmp_path, steps=60, optimizer="sgd", lr=0.3)
    assert result.metrics["accuracy"] > 0.8


class Rivals(nn.Module):
    """A one-dimensional GAN: the generator shifts noise, the discriminator tells it from data around 2."""

    phases = ("discriminator", "generator")
    batch_coupled = False
    monitor = ("accuracy", "max")

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.generator = nn.Linear(1, 1)
        self.discriminator = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
        self.gradients: list[tuple[str, bool, bool]] = []
        self.batches: list[tuple[str, Tensor]] = []

    def forward(self, batch: Any, phase: str = "main") -> Any:
        if self.training:
            self.batches.append((phase, batch["index"].clone()))
        fake = self.generator(batch["noise"])
        count = torch.tensor(float(len(fake)))
        logits = torch.cat([torch.zeros(len(fake), 1), fake], 1)
        if phase == "generator":
            score = self.discriminator(fake)
            return F.binary_cross_entropy_with_logits(score, torch.ones_like(score), reduction="sum"), count, {}, logits
        real, false = self.discriminator(batch["x"]), self.discriminator(fake.detach())
        loss = F.binary_cross_entropy_with_logits(real, torch.ones_like(real), reduction="sum")
        loss = loss + F.binary_cross_entropy_with_logits(false, torch.zeros_like(false), reduction="sum")
        return loss, count, {}, logits

    def layer_groups(self, phase: str = "main") -> Any:
        return [(phase, [(n, p) for n, p in self.named_parameters() if n.startswith(phase)])]

    def metrics(self) -> Any:
        return mlp().metrics()

    def after_step(self, step: int, total: int) -> None:
        held = {name: p.grad is not None for name, p in self.named_parameters()}
        self.gradients.append((f"{step}/{total}", held["generator.weight"], held["discriminator.0.weight"]))


def test_phases_take_turns_on_the_same_batch(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(3)
    data = {
        "x": 2 + 0.1 * torch.randn(32, 1, generator=draw),
        "noise": torch.randn(32, 1, generator=draw),
        "label": torch.ones(32, dtype=torch.long),
    }
    task = Rivals()
    with torch.no_grad():
        task.generator.bias.fill_(-2.0)
    run(task, TrainRows(data, 16), EvalRows(data, 16), tmp_path, steps=40, schedule="constant", clip_norm=None)
    assert [phase for phase, _ in task.batches[:4]] == ["discriminator", "generator"] * 2
    assert torch.equal(task.batches[0][1], task.batches[1][1])
    assert len(task.gradients) == 40
    assert task.gradients[-1] == ("40/40", True, True)
    assert all(p.requires_grad for p in task.parameters())
    assert task.generator.bias.item() > -1.0  # moved towards the data
    assert curve(tmp_path, "generator/loss")
    keys = Checkpoints(tmp_path / "checkpoints").load("last")[0]["optimizer"].keys()
    assert {"discriminator/discriminator.0.weight/exp_avg", "generator/generator.bias/exp_avg"} <= keys


def test_a_phase_leaves_no_gradient_in_the_other(tmp_path: Path) -> None:
    task = Rivals()
    seen: list[set[str]] = []
    plain = task.forward

    def watch(batch: Any, phase: str = "main") -> Any:
        seen.append({name.split(".")[0] for name, p in task.named_parameters() if p.requires_grad})
        return plain(batch, phase)

    task.forward = watch  # type: ignore[method-assign]
    data = {"x": torch.ones(8, 1), "noise": torch.ones(8, 1), "label": torch.ones(8, dtype=torch.long)}
    run(task, TrainRows(data, 8), EvalRows(data, 8), tmp_path, steps=1)
    assert seen[:2] == [{"discriminator"}, {"generator"}]


def test_stages_keep_apart(tmp_path: Path) -> None:
    task, train, val = mlp(), TrainRows(vectors(), 16), EvalRows(vectors(20, 2), 8)
    head = run(task, train, val, tmp_path, steps=3, stage="head")
    run(task, train, val, tmp_path, steps=6)
    again = run(mlp(), train, val, tmp_path, steps=3, stage="head", resume=True)
    assert again.history == head.history
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "best",
        "head-best",
        "head-last",
        "last",
    ]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize(
    "options", [{}, {"precision": "bf16"}, {"precision": "fp16"}, {"channels_last": True, "ema": 0.9}]
)
def test_cuda_follows_the_cpu(tmp_path: Path, options: dict[str, Any]) -> None:
    def go(device: str, **extra: Any) -> list[float]:
        folder = tmp_path / device
        run(conv(), TrainRows(images(), 16), EvalRows(images(30, 2), 8), folder, steps=8, device=device, **extra)
        return curve(folder)

    half = options.get("precision", "fp32") != "fp32"
    assert go("cuda", **options) == pytest.approx(go("cpu"), rel=0.1 if half else 1e-3)
