from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from engine_toys import EvalRows, Toy, TrainRows, conv, images, run

from zoo.engine.checkpoint import Checkpoints
from zoo.engine.memory import is_out_of_memory, peak_megabytes
from zoo_registry.errors import ZooError


def limited(limit: int, error: type[Exception] = torch.OutOfMemoryError, dropout: float = 0.3) -> Toy:
    """A task that has no memory for more than ``limit`` samples; it fails late, its statistics already moved."""
    task = conv(dropout)
    plain = task.forward

    def forward(batch: Any, phase: str = "main") -> Any:
        result = plain(batch, phase)
        if task.training and len(batch["index"]) > limit:
            raise error("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")
        return result

    task.forward = forward  # type: ignore[method-assign]
    return task


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_halves_until_it_fits_and_reruns_exactly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: type[Exception]
) -> None:
    """Found by running out or given from the start, micro-batches of 4 end in the same weights, bit for bit."""
    data = TrainRows(images(), 16, noise=0.2), EvalRows(images(30, 2), 8)
    run(limited(5, error), *data, tmp_path / "found", steps=5, ema=0.9)
    said = capsys.readouterr().err.splitlines()
    assert [line.split("going on with ")[1].split(",")[0] for line in said] == ["8", "4"]
    run(conv(0.3), *data, tmp_path / "given", steps=5, ema=0.9, micro_batch=4)
    found, given = (Checkpoints(tmp_path / name / "checkpoints").load("last") for name in ("found", "given"))
    assert found[1]["progress"] == given[1]["progress"]
    for stem, tensors in given[0].items():
        for name, tensor in tensors.items():
            assert torch.equal(found[0][stem][name], tensor), name


def test_one_sample_too_many(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match=r"1 samples at a time.*smaller model"):
        run(limited(0), TrainRows(images(), 16), EvalRows(images(30, 2), 8), tmp_path, steps=2)


def test_coupled_batches_are_not_split(tmp_path: Path) -> None:
    task = limited(8)
    task.batch_coupled = True
    with pytest.raises(ZooError, match=r"16 samples at a time.*--batch-size"):
        run(task, TrainRows(images(), 16), EvalRows(images(30, 2), 8), tmp_path, steps=2)


def test_other_errors_pass_through(tmp_path: Path) -> None:
    task = conv()
    task.head = torch.nn.Linear(5, 3)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        run(task, TrainRows(images(), 16), EvalRows(images(30, 2), 8), tmp_path, steps=2)
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    assert not is_out_of_memory(ValueError("out of memory"))
    assert is_out_of_memory(MemoryError())


def test_memory_lost_in_the_optimizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def step(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(ZooError, match="in the optimizer"):
        run(conv(), TrainRows(images(), 16), EvalRows(images(30, 2), 8), tmp_path, steps=2)


def test_peak_is_plausible() -> None:
    assert 50 < peak_megabytes(torch.device("cpu")) < 100_000


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_real_cuda_oom_is_recognised() -> None:
    with pytest.raises(Exception) as caught:
        torch.empty(2**50, device="cuda")
    assert is_out_of_memory(caught.value)


def test_real_cpu_failure_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**55)
    assert is_out_of_memory(caught.value)
