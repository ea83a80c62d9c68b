from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from joint_toys import TrainPictures, batch_of, built, groups_of
from torch import Tensor

from zoo.engine.config import EngineConfig
from zoo.engine.gradients import gradients
from zoo.engine.run import begin
from zoo.engine.runtime import Runtime
from zoo.protocols import Coupled
from zoo_registry.errors import UsageError
from zoo_vision.objectives.simclr import nt_xent


def slow(vectors: Tensor, temperature: float) -> tuple[float, float]:
    """The paper's algorithm 1, view by view."""
    views = [(image, side) for image in range(len(vectors)) for side in range(2)]
    total, right = 0.0, 0
    for image, side in views:
        there = {
            (j, s): float(vectors[image, side] @ vectors[j, s]) / temperature
            for j, s in views
            if (j, s) != (image, side)
        }
        own = there[image, 1 - side]
        total += math.log(sum(math.exp(value) for value in there.values())) - own
        right += own == max(there.values())
    return total / 2, right / len(views)


def test_the_loss_equals_a_slow_reference() -> None:
    task = built("simclr", temperature=0.3)
    vectors = task(batch_of("simclr"), "vectors")[3].detach()
    assert vectors.shape == (6, 2, 5)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(6, 2))
    loss, right = nt_xent(vectors, 0.3)
    wanted_loss, wanted_right = slow(vectors, 0.3)
    assert loss.item() == pytest.approx(wanted_loss, abs=1e-4)
    assert right.item() == pytest.approx(wanted_right)
    coupled, count, logs = task.couple(vectors)
    assert (coupled.item(), count.item()) == (pytest.approx(wanted_loss, abs=1e-4), 6)
    assert logs["right"] == right


def step(name: str, micro_batch: int | None, rows: int = 10) -> tuple[float, dict[str, Tensor]]:
    """Mean loss and gradients of one step as the engine takes it."""
    task, data = built(name), TrainPictures(name, 20, rows)
    config = EngineConfig(steps=9, lr=0.1, micro_batch=micro_batch)
    made: Any = begin(task, data, config, groups_of(task), Runtime.create(device="cpu"), "main", {})
    made.progress.micro_batch = micro_batch
    task.train()
    loss, count = gradients(made, "main", next(data.stream(0, 1)))
    found = {key: p.grad * made.share / count for key, p in task.named_parameters() if p.grad is not None}
    return float(loss / count), found


@pytest.mark.parametrize("name", ["simclr", "vicreg", "byol", "dino"])
def test_pieces_give_the_gradient_of_the_whole_batch(name: str) -> None:
    wanted_loss, wanted = step(name, None)
    trained = {key for group in groups_of(built(name))["main"] for key, _ in group.params}
    assert wanted.keys() == trained
    assert max(gradient.abs().max() for gradient in wanted.values()) > 1e-4
    for micro_batch in (4, 1):
        loss, found = step(name, micro_batch)
        assert loss == pytest.approx(wanted_loss, rel=1e-5)
        for key, gradient in wanted.items():
            torch.testing.assert_close(found[key], gradient, atol=1e-5, rtol=1e-3)


def test_the_gradient_is_that_of_autograd_over_the_whole_batch() -> None:
    task, data = built("simclr"), TrainPictures("simclr", 20, 10)
    batch = data.transform(next(data.stream(0, 1)), 0)
    (task(batch)[0] / 10).backward()
    _, found = step("simclr", 3)
    for key, parameter in task.named_parameters():
        torch.testing.assert_close(found[key], parameter.grad, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("name", ["simclr", "vicreg"])
def test_one_image_is_no_batch_to_compare_in(name: str) -> None:
    task = built(name)
    assert isinstance(task, Coupled)
    with pytest.raises(UsageError, match="one image") as caught:
        task.couple(torch.randn(1, 2, 5))
    assert caught.value.exit_code == 2
    assert torch.isfinite(task.eval()(batch_of(name, 1))[0])  # the rest of a split may be one image


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("simclr", {"temperature": 0}, "temperature is 0"),
        ("simclr", {"crop": 0.0}, "crop is 0"),
        ("simclr", {"jitter": 2}, "jitter is 2"),
        ("simclr", {"colour": 1}, "no setting 'colour'"),
        ("vicreg", {"variance": -1}, "negative"),
        ("byol", {"momentum": 1.0}, "momentum is 1"),
        ("dino", {"prototypes": 1}, "prototypes is 1"),
        ("dino", {"local_crop": 0.9}, "local_crop is 0.9"),
        ("dino", {"freeze": 1}, "freeze"),
        ("dino", {"local_views": -1}, "negative"),
    ],
)
def test_settings_that_do_not_go_are_refused(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        built(name, **options)
