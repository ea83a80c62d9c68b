from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import engine_coupled
import pytest
import torch
from engine_coupled import CASES, Pairs, data, pairs
from engine_toys import run
from ranks import start_ranks
from safetensors.torch import load_file
from torch import Tensor

from zoo.engine import gradients as module
from zoo.engine.checkpoint import Checkpoints
from zoo.engine.config import EngineConfig
from zoo.engine.gradients import gradients
from zoo.engine.optim import layerwise_groups
from zoo.engine.run import begin
from zoo.engine.runtime import Runtime
from zoo_registry.errors import PluginError, UsageError

HERE = Path(__file__).parent


def begun(task: Any, micro_batch: int | None, **options: Any) -> Any:
    config = EngineConfig(steps=9, lr=0.1, micro_batch=micro_batch, **options)
    train, _ = data(16)
    groups = {phase: layerwise_groups(task.layer_groups(phase), weight_decay=0.0) for phase in task.phases}
    made = begin(task, train, config, groups, Runtime.create(device="cpu"), "main", {})
    made.progress.micro_batch = micro_batch
    task.train()
    return made


def batch_of(rows: int = 16) -> dict[str, Tensor]:
    return {**pairs(rows), "index": torch.arange(rows)}


def step(task: Pairs, micro_batch: int | None, rows: int = 16) -> tuple[float, float, dict[str, Tensor]]:
    """Loss, count and gradients of one step, divided as the loop divides them."""
    made = begun(task, micro_batch)
    loss, count = gradients(made, "main", batch_of(rows))
    return (
        float(loss),
        float(count),
        {name: p.grad * made.share / count for name, p in task.named_parameters() if p.grad is not None},
    )


def slow_reference(task: Pairs, rows: int = 16) -> tuple[float, dict[str, Tensor]]:
    """The mean loss over the whole batch by autograd, sample by sample."""
    batch = batch_of(rows)
    vectors = torch.stack(
        [torch.stack([task.one(batch["x"][i : i + 1])[0], task.other(batch["y"][i : i + 1])[0]]) for i in range(rows)]
    )
    vectors = vectors / vectors.norm(dim=-1, keepdim=True)
    total = torch.zeros(())
    for i in range(rows):
        one = torch.stack([task.scale.exp() * (vectors[i, 0] * vectors[j, 1]).sum() for j in range(rows)])
        other = torch.stack([task.scale.exp() * (vectors[j, 0] * vectors[i, 1]).sum() for j in range(rows)])
        total = total - one.log_softmax(0)[i] / 2 - other.log_softmax(0)[i] / 2
    names = dict(task.named_parameters())
    return float(total.detach()), dict(zip(names, torch.autograd.grad(total / rows, list(names.values())), strict=True))


@pytest.mark.parametrize("micro_batch", [None, 16, 4, 3, 1])
def test_any_number_of_pieces_gives_the_gradient_of_the_whole_batch(micro_batch: int | None) -> None:
    wanted_loss, wanted = slow_reference(Pairs())
    loss, count, found = step(Pairs(), micro_batch)
    assert count == 16
    assert loss == pytest.approx(wanted_loss, abs=1e-5)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=0)


def test_two_passes_only_where_there_are_pieces() -> None:
    step(whole := Pairs(), None)
    step(cut := Pairs(), 8)
    assert whole.seen == [(True, 16)]
    assert cut.seen == [(False, 8), (False, 8), (True, 8), (True, 8)]


def test_dropout_is_the_same_in_both_passes() -> None:
    """Otherwise the loss would be of other vectors than those that its gradient is sent through."""
    made = begun(task := Pairs(dropout=0.5), 4)
    outputs: list[Tensor] = []
    task.register_forward_hook(lambda _, __, out: outputs.append(out[3].detach().clone()))
    gradients(made, "main", batch_of())
    assert len(outputs) == 8
    for first, second in zip(outputs[:4], outputs[4:], strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(outputs[0], Pairs()(batch_of(4))[3])


def test_running_statistics_move_once() -> None:
    once = Pairs(norm=True).train()
    with torch.no_grad():
        for start in range(0, 16, 4):
            once({name: tensor[start : start + 4] for name, tensor in batch_of().items()}, "vectors")
    made = begun(task := Pairs(norm=True), 4)
    momentum = task.one[1].momentum
    gradients(made, "main", batch_of())
    assert momentum == once.one[1].momentum
    torch.testing.assert_close(task.one[1].running_mean, once.one[1].running_mean)
    torch.testing.assert_close(task.one[1].running_var, once.one[1].running_var)
    assert int(task.one[1].num_batches_tracked) == 4


def test_memory_that_runs_out_halves_the_pieces_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted_loss, wanted = slow_reference(Pairs())

    class Hungry(Pairs):
        def forward(self, batch: Any, phase: str = "main") -> Any:
            if len(batch["x"]) > 4:
                raise RuntimeError("CUDA out of memory")
            return super().forward(batch, phase)

    monkeypatch.setattr(module, "fit_momenta", lambda run: None)
    made = begun(task := Hungry(), None)
    loss, count = gradients(made, "main", batch_of())
    assert made.progress.micro_batch == 4
    assert float(loss) == pytest.approx(wanted_loss, abs=1e-5)
    for name, parameter in task.named_parameters():
        torch.testing.assert_close(parameter.grad * made.share / count, wanted[name], atol=1e-5, rtol=0)


def test_fp16_scales_what_it_later_divides_by() -> None:
    class Twofold:
        def scale(self, tensor: Tensor) -> Tensor:
            return tensor * 1024

    _, wanted = slow_reference(Pairs())
    for micro_batch in (None, 4):
        made = begun(task := Pairs(), micro_batch)
        made.scalers["main"] = Twofold()
        _, count = gradients(made, "main", batch_of())
        for name, parameter in task.named_parameters():
            torch.testing.assert_close(parameter.grad / 1024 * made.share / count, wanted[name], atol=1e-5, rtol=0)


def test_a_frozen_scale_stays() -> None:
    task = Pairs()
    task.scale.requires_grad_(False)
    _, _, found = step(task, 4)
    assert "scale" not in found
    assert "one.0.weight" in found


def test_micro_batches_train_as_the_whole_batch_does(tmp_path: Path) -> None:
    curves = []
    for micro_batch in (None, 4):
        folder = tmp_path / str(micro_batch)
        run(Pairs(), *data(16), folder, steps=8, micro_batch=micro_batch)
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        curves.append([line["loss"] for line in lines if line["event"] == "train"])
        assert all(line["scale"] > 0 for line in lines if line["event"] == "train")
    assert curves[0] == pytest.approx(curves[1], abs=1e-5)
    assert curves[0][-1] < curves[0][0] - 0.1


def test_a_resumed_run_repeats_every_bit(tmp_path: Path) -> None:
    class Stop(Exception): ...

    def stop(step: int) -> None:
        if step == 6:
            raise Stop

    options = {"steps": 9, "micro_batch": 4, "save_every": 4}
    train, val = data(16)
    run(Pairs(dropout=0.3), train, val, tmp_path / "whole", **options)
    stopping = data(16)[0]
    stopping.each = stop
    with pytest.raises(Stop):
        run(Pairs(dropout=0.3), stopping, val, tmp_path / "cut", **options)
    run(Pairs(dropout=0.3), train, val, tmp_path / "cut", resume=True, **options)
    one, other = (Checkpoints(tmp_path / name / "checkpoints").load("last")[0] for name in ("whole", "cut"))
    for stem, tensors in one.items():
        for key, tensor in tensors.items():
            assert torch.equal(tensor, other[stem][key]), key


def test_what_cannot_be_exact_is_refused() -> None:
    class TwoPhases(Pairs):
        phases = ("main", "more")

    runtime = Runtime.create(device="cpu")
    train, _ = data(16)
    with pytest.raises(PluginError, match="several phases"):
        begin_with(TwoPhases(), runtime, train)
    runtime.sharded = True
    with pytest.raises(UsageError, match="spread over them"):
        begin_with(Pairs(), runtime, train)


def begin_with(task: Any, runtime: Runtime, train: Any) -> None:
    groups = {task.phases[0]: layerwise_groups(task.layer_groups(), weight_decay=0.0)}
    begin(task, train, EngineConfig(steps=2, lr=0.1), groups, runtime, "main", {})


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Path]]:
    base, threads = tmp_path_factory.mktemp("coupled"), torch.get_num_threads()
    folders = {processes: base / str(processes) for processes in (1, 2, 3)}
    for folder in folders.values():
        folder.mkdir()
    engine_coupled.main(folders[1])
    start_ranks(HERE / "engine_coupled.py", {folders[processes]: processes for processes in (2, 3)})
    yield folders
    torch.set_num_threads(threads)


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("case", CASES)
def test_processes_train_as_one_does(outcomes: dict[int, Path], case: str, processes: int) -> None:
    """15 samples a step: of two processes one has 8 and one 7, so that their pieces differ in number or size."""
    one, many = outcomes[1] / case, outcomes[processes] / case
    curves = [
        [line["loss"] for line in map(json.loads, (folder / "metrics.jsonl").open()) if line["event"] == "train"]
        for folder in (one, many)
    ]
    assert len(curves[0]) == 6
    assert curves[1] == pytest.approx(curves[0], abs=1e-5)
    first, second = (Checkpoints(folder / "checkpoints").load("last")[0]["model"] for folder in (one, many))
    for key, tensor in first.items():
        torch.testing.assert_close(second[key], tensor, atol=1e-5, rtol=1e-4)


def test_gathered_rows_stand_in_the_order_of_processes(outcomes: dict[int, Path]) -> None:
    assert load_file(outcomes[2] / "out.safetensors")["gathered"].tolist() == [0, 0, 1, 1, 1]
    statistics = load_file(outcomes[2] / "out.safetensors")["statistics"]
    assert torch.equal(statistics[0], statistics[1])
