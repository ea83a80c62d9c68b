from __future__ import annotations

from typing import Any

import pytest
import torch
from engine_toys import EvalRows, conv, images, mlp, vectors
from torch.nn import functional as F

from zoo.engine.evaluate import collect, evaluate
from zoo.engine.runtime import Runtime
from zoo.engine.signals import Stopped
from zoo_registry.errors import UsageError, ZooError

CPU = Runtime.create(device="cpu")


def test_equals_one_big_batch() -> None:
    task, data = conv(0.5), images(30, 2)
    metrics = evaluate(task, EvalRows(data, 7), CPU)
    with torch.no_grad():
        logits = task.eval().logits(data)
    assert metrics["loss"] == pytest.approx(float(F.cross_entropy(logits, data["label"])), rel=1e-5)
    assert metrics["accuracy"] == pytest.approx(float((logits.argmax(1) == data["label"]).float().mean()))


def test_collect_is_in_row_order() -> None:
    class Backwards(EvalRows):
        def stream(self, rank: int = 0, world: int = 1) -> Any:
            return reversed(list(super().stream(rank, world)))

    task, data = mlp(), vectors(20)
    logits, index = collect(task, Backwards(data, 6), CPU)
    assert index.tolist() == list(range(20))
    with torch.no_grad():
        torch.testing.assert_close(logits, task.logits(data))
    low, _ = collect(task, Backwards(data, 6), CPU, precision="bf16")
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, logits, atol=0.05, rtol=0.05)


def test_splits_a_batch_that_does_not_fit() -> None:
    task, data = mlp(), vectors(20)
    expected = evaluate(task, EvalRows(data, 20), CPU)
    plain = task.forward
    sizes: list[int] = []

    def forward(batch: Any, phase: str = "main") -> Any:
        sizes.append(len(batch["index"]))
        if sizes[-1] > 6:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(batch, phase)

    task.forward = forward  # type: ignore[method-assign]
    found = evaluate(task, EvalRows(data, 20), CPU)
    assert found["accuracy"] == expected["accuracy"]
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-6)
    assert sizes == [20, 10, 5, 5, 5, 5]
    task.forward = lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory"))  # type: ignore[method-assign]
    with pytest.raises(ZooError, match="while evaluating 1 samples"):
        evaluate(task, EvalRows(data, 20), CPU)


def test_evaluation_leaves_nothing_that_training_cannot_use() -> None:
    """A module that caches a tensor while evaluating can still be trained afterwards."""
    task = mlp()
    cache: dict[str, torch.Tensor] = {}
    plain = task.forward

    def forward(batch: Any, phase: str = "main") -> Any:
        scale = cache.setdefault("scale", torch.ones(len(batch["x"][0])) * 2)
        return plain({**batch, "x": batch["x"] * scale}, phase)

    task.forward = forward  # type: ignore[method-assign]
    evaluate(task, EvalRows(vectors(6), 6), CPU)
    data = vectors(6)
    loss, _, _, _ = task({**data, "x": data["x"].requires_grad_(True), "index": torch.arange(6)})
    loss.backward()


def test_stops_when_asked_and_refuses_nothing() -> None:
    data = vectors(20)
    calls: list[int] = []

    def stop() -> int:
        calls.append(1)
        return 15 if len(calls) >= 2 else 0

    with pytest.raises(Stopped):
        evaluate(mlp(), EvalRows(data, 5), CPU, stop=stop)
    assert len(calls) == 3
    empty = {name: tensor[:0] for name, tensor in data.items()}
    with pytest.raises(ZooError, match="nothing to evaluate"):
        evaluate(mlp(), EvalRows(empty, 5), CPU)


def test_runtime_checks() -> None:
    with pytest.raises(UsageError, match="fp16 needs"):
        Runtime.create("fp16", device="cpu")
    with pytest.raises(UsageError, match="'nonsense'"):
        Runtime.create(device="nonsense")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="'cuda'"):
            Runtime.create(device="cuda")
    assert (CPU.world, CPU.rank, CPU.is_main, CPU.sharded) == (1, 0, True, False)
