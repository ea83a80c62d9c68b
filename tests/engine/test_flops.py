"""Floating-point operations of a step: the count is right, changes no number, and is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from engine_toys import EvalRows, Toy, TrainRows, conv, images, mlp, run, vectors
from torch import nn
from torch.nn import functional as F

from zoo.engine import flops
from zoo.engine.flops import Counter, Utilisation, device_peak, named_peak
from zoo.engine.runtime import Runtime


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.within = nn.Linear(6, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        heads = self.within(x).view(len(x), 3, 2, 2).transpose(1, 2)
        return F.scaled_dot_product_attention(heads, heads, heads).transpose(1, 2).flatten(1)


def test_products_are_counted_by_hand() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    with Counter() as counter:
        network(torch.randn(5, 6)).sum().backward()
    first, second = 2 * 5 * 6 * 8, 2 * 5 * 8 * 3
    # Backward: the gradient at each weight, and at the input of all layers but the first.
    assert counter.flops == 2 * first + 3 * second
    assert counter.complete


def test_attention_on_the_cpu_is_counted() -> None:
    q = torch.randn(2, 3, 7, 4, requires_grad=True)
    with Counter() as counter:
        out = F.scaled_dot_product_attention(q, q, q)
    product = 2 * 2 * 3 * 7 * 7 * 4
    assert counter.flops == 2 * product
    with Counter() as counter:
        out.sum().backward()
    assert counter.flops == 5 * product


def test_a_kernel_that_nobody_counts_leaves_no_figure() -> None:
    measure = Utilisation(Runtime.create(device="cpu"), "fp32", 100, False)

    class Closed:
        _overloadpacket = type("packet", (), {"__name__": "_cudnn_rnn"})()

        def __call__(self) -> int:
            return 1

    with measure.counting("main", 4):
        torch.randn(3, 3) @ torch.randn(3, 3)
        for mode in torch.utils._python_dispatch._get_current_dispatch_mode_stack():
            assert mode.__torch_dispatch__(Closed(), ()) == 1
    assert measure.read(10.0) == {}


def batch_norm() -> Toy:
    return conv(dropout=0.3)


def attention() -> Toy:
    torch.manual_seed(0)
    return Toy(Attention(), width=12)


@pytest.mark.parametrize("make", [batch_norm, attention])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_counting_changes_no_bit(make, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = images() if make is batch_norm else vectors()
    tasks = []
    for fewest in (1, 1000):  # counted, and not
        monkeypatch.setattr(flops, "FEWEST", fewest)
        task = make()
        run(task, TrainRows(data, 16), EvalRows(data, 16), tmp_path / str(fewest), steps=4, precision=precision)
        tasks.append(task)
        lines = [json.loads(line) for line in (tmp_path / str(fewest) / "metrics.jsonl").read_text().splitlines()]
        assert all(("tflops" in line) == (fewest == 1) for line in lines if line["event"] == "train")
    for one, other in zip(tasks[0].state_dict().values(), tasks[1].state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_figures_and_time_left_are_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flops, "device_peak", lambda device, precision: 1e12)
    run(mlp(), TrainRows(vectors(), 16), EvalRows(vectors(), 16), tmp_path, steps=20, log_every=5, micro_batch=6)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    train = [line for line in lines if line["event"] == "train"]
    assert [line["step"] for line in train] == [5, 10, 15, 20]
    a_sample = 2 * (2 * 6 * 8) + 3 * (2 * 8 * 3)
    for line in train:
        assert line["tflops"] == pytest.approx(a_sample * line["samples_per_second"] / 1e12)
        assert line["mfu"] == pytest.approx(line["tflops"])
        assert line["eta_seconds"] >= 0
    assert train[-1]["eta_seconds"] == 0


def test_short_and_compiled_runs_are_left_alone() -> None:
    runtime = Runtime.create(device="cpu")
    for measure in (Utilisation(runtime, "fp32", 19, False), Utilisation(runtime, "fp32", 100, True)):
        with measure.counting("main", 4):
            torch.randn(3, 3) @ torch.randn(3, 3)
        assert measure.read(10.0) == {}


@pytest.mark.parametrize(
    ("name", "precision", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16", 989.5),
        ("NVIDIA H100 PCIe", "bf16", 756.5),
        ("NVIDIA H200", "fp32", 67.0),
        ("NVIDIA A100-SXM4-80GB", "fp16", 312.0),
        ("Tesla T4", "fp16", 65.0),
        ("NVIDIA L4", "bf16", 121.0),
        ("NVIDIA L40S", "bf16", 362.0),
        ("Tesla V100-SXM2-16GB", "fp16", 125.0),
        ("NVIDIA GeForce RTX 4090", "bf16", 165.2),
        ("NVIDIA L400", "bf16", None),
    ],
)
def test_peaks_by_name(name: str, precision: str, tera: float | None) -> None:
    assert named_peak(name, precision) == (tera and tera * 1e12)


def test_the_cpus_peak_is_measured() -> None:
    peak = device_peak(torch.device("cpu"), "fp32")
    assert peak is not None
    assert 1e8 < peak < 1e14
    assert device_peak(torch.device("meta"), "fp32") is None
