from __future__ import annotations

import torch
from joint_toys import canvases, view

from zoo.data.draws import HashDraws
from zoo_vision.objectives.views import Within


def drawn(name: str, rows: list[int], epoch: int = 0) -> dict[str, torch.Tensor]:
    batch = {key: tensor[rows] for key, tensor in canvases(6).items()}
    return view(name).augment(batch, HashDraws(0, epoch, batch["index"]))


def test_an_image_s_views_do_not_depend_on_its_batch() -> None:
    for name in ("simclr", "byol", "dino"):
        whole = drawn(name, list(range(6)))
        for rows in ([3], [5, 3, 0]):
            part = drawn(name, rows)
            for key in {"image", "locals"} & whole.keys():
                torch.testing.assert_close(part[key], whole[key][rows], atol=1e-5, rtol=0)


def test_views_differ_from_each_other_and_from_epoch_to_epoch() -> None:
    batch = drawn("dino", list(range(6)))
    for views in (batch["image"], batch["locals"]):
        for row in range(6):
            assert (views[row, 0] - views[row, 1]).abs().mean() > 0.1
    again, later = drawn("dino", list(range(6))), drawn("dino", list(range(6)), epoch=1)
    for key in ("image", "locals"):
        assert torch.equal(batch[key], again[key])
        assert (batch[key] - later[key]).abs().mean() > 0.1


def test_evaluation_draws_the_same_views_and_shows_the_picture_too() -> None:
    made = view("simclr")
    one, other = made.prepare(canvases(4)), made.prepare(canvases(4))
    assert torch.equal(one["image"], other["image"])
    assert one["image"].shape == (4, 2, 3, 12, 12)
    assert torch.equal(one["plain"], made.pipeline.prepare(canvases(4))["image"])
    assert torch.equal(one["label"], canvases(4)["label"])


def test_streams_of_other_names_are_others() -> None:
    draws = HashDraws(0, 0, torch.arange(3))
    one, other = Within(draws, "a").uniform("crop", 4), Within(draws, "b").uniform("crop", 4)
    assert torch.equal(one, draws.uniform("a/crop", 4))
    assert not torch.equal(one, other)
