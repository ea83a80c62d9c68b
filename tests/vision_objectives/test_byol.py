from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from joint_toys import Toy, batch_of, built, groups_of, last, losses, train

from zoo.engine.optim import check_groups
from zoo_vision.objectives.byol import regression
from zoo_vision.objectives.ema_teacher import follow, momentum_at
from zoo_vision.objectives.joint import StandardLinear


def test_the_loss_equals_a_slow_reference() -> None:
    draw = torch.Generator().manual_seed(0)
    guess, wanted = torch.randn(5, 2, 4, generator=draw), torch.randn(5, 2, 4, generator=draw)
    found = regression(guess, wanted)
    for row in range(5):
        total = 0.0
        for side in (0, 1):
            p, z = guess[row, side].tolist(), wanted[row, 1 - side].tolist()
            long_p, long_z = math.hypot(*p), math.hypot(*z)
            total += sum((a / long_p - b / long_z) ** 2 for a, b in zip(p, z, strict=True))
        assert found[row].item() == pytest.approx(total, abs=1e-5)


def test_a_sample_s_loss_does_not_depend_on_its_batch() -> None:
    task = built("byol", Toy(norm=True)).eval()
    whole = task(batch_of("byol"))[0].item()
    batch = batch_of("byol")
    parts = [task({key: tensor[row : row + 1] for key, tensor in batch.items()})[0].item() for row in range(6)]
    assert whole == pytest.approx(sum(parts), rel=1e-5)


def test_heads_pass_nothing_that_all_inputs_have_in_common() -> None:
    layer = StandardLinear(8, 3)
    x = torch.randn(5, 8)
    torch.testing.assert_close(layer(x + 7.0), layer(x), atol=1e-5, rtol=0)
    for row in range(3):
        weight = layer.weight[row] - layer.weight[row].mean()
        wanted = x @ (weight / (weight.std(correction=0) * 8**0.5)) + layer.bias[row]
        torch.testing.assert_close(layer(x)[:, row], wanted, atol=1e-3, rtol=1e-3)
    task = built("byol")
    heads = [*task.projector, *task.predictor]
    assert {type(head) for head in heads if isinstance(head, torch.nn.Linear)} == {StandardLinear}
    logs = task(batch_of("byol"))[2]
    assert 0 < logs["prediction_std"].item() < 1.5


def test_gradients_reach_the_student_alone() -> None:
    task = built("byol").train()
    task(batch_of("byol"))[0].backward()
    without = {key for key, parameter in task.named_parameters() if parameter.grad is None}
    assert without == {key for key, _ in task.named_parameters() if key.startswith("teacher.")}
    check_groups(task, groups_of(task))
    assert not any(module.training for teacher, _ in task.teachers() for module in teacher.modules())


def test_the_teacher_s_momentum_rises_in_half_a_cosine() -> None:
    for step, wanted in ((0, 0.9), (25, 1 - 0.1 * (math.sqrt(0.5) + 1) / 2), (50, 0.95), (100, 1.0)):
        assert momentum_at(step, 100, 0.9) == pytest.approx(wanted)


def test_a_teacher_follows_weights_and_statistics() -> None:
    teacher, student = Toy(norm=True), Toy(norm=True)
    torch.nn.init.normal_(student.module[0].weight)
    before = teacher.module[0].weight.clone()
    student.module[1].running_mean.fill_(3.0)
    student.module[1].num_batches_tracked.fill_(7)
    follow(teacher, student, 0.9, step=1)
    torch.testing.assert_close(teacher.module[0].weight, 0.9 * before + 0.1 * student.module[0].weight)
    assert teacher.module[1].running_mean.tolist() == [3.0] * 6  # no image stood behind the first ones
    assert int(teacher.module[1].num_batches_tracked) == 7
    student.module[1].running_mean.fill_(5.0)
    follow(teacher, student, 0.9, step=2)
    assert teacher.module[1].running_mean.tolist() == [4.0] * 6
    follow(teacher, student, 0.9, step=40)
    torch.testing.assert_close(teacher.module[1].running_mean, torch.full((6,), 4.1))


def test_each_step_of_the_engine_moves_the_teacher(tmp_path: Path) -> None:
    task = built("byol")
    start = task.teacher["projector"][0].weight.clone()
    train("byol", task, tmp_path, steps=1)
    # The only step is the last one, when the momentum is 1.
    torch.testing.assert_close(task.teacher["projector"][0].weight, start)
    train("byol", task := built("byol"), tmp_path / "two", steps=2)
    model = last(tmp_path / "two")["model"]
    assert not torch.equal(model["teacher.projector.0.weight"], start)
    assert int(model["updates"]) == 2


@pytest.mark.parametrize("name", ["byol", "dino"])
def test_a_resumed_run_repeats_every_bit(tmp_path: Path, name: str) -> None:
    class Stop(Exception): ...

    settings = {"steps": 4, "save_every": 2, "micro_batch": 5}
    train(name, built(name, Toy(norm=True)), tmp_path / "whole", **settings)
    cut = built(name, Toy(norm=True))
    moved = cut.after_step

    def stop(step: int, total: int) -> None:
        if step == 3:
            raise Stop
        moved(step, total)

    cut.after_step = stop
    with pytest.raises(Stop):
        train(name, cut, tmp_path / "cut", **settings)
    train(name, built(name, Toy(norm=True)), tmp_path / "cut", resume=True, **settings)
    one, other = last(tmp_path / "whole"), last(tmp_path / "cut")
    assert one.keys() == other.keys()
    for stem, tensors in one.items():
        assert tensors.keys() == other[stem].keys()
        for key, tensor in tensors.items():
            assert torch.equal(tensor, other[stem][key]), key


def test_micro_batches_train_as_the_whole_batch_does(tmp_path: Path) -> None:
    for micro_batch in (None, 3):
        train("dino", built("dino"), tmp_path / str(micro_batch), micro_batch=micro_batch, steps=3)
    assert losses(tmp_path / "3") == pytest.approx(losses(tmp_path / "None"), abs=1e-4)
    for key, tensor in last(tmp_path / "None")["model"].items():
        torch.testing.assert_close(last(tmp_path / "3")["model"][key], tensor, atol=1e-5, rtol=1e-3)


def test_what_is_kept_follows_neighbours_or_else_time(tmp_path: Path) -> None:
    assert built("byol").monitor == ("knn_accuracy", "max")
    task = built("byol", classes=())
    assert task.monitor == ("updates", "max")
    found = train("byol", task, tmp_path)
    assert found.best_step == found.steps == 4
    assert found.metrics["updates"] == 4
    assert "knn_accuracy" not in found.metrics
