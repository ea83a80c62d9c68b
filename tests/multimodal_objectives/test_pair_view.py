from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo.data.draws import HashDraws
from zoo.pairs import side_of
from zoo.protocols import Paired
from zoo_multimodal.objectives.recall import RecallMetrics
from zoo_multimodal.objectives.view import content_keys, cropped, pair_view
from zoo_registry.specs import InputSpec
from zoo_vision.pipeline import ImagePipeline


class Words:
    """The text side: ids that are kept as they are."""

    modality, input_name = "text", "tokens"

    def prepare(self, side: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"ids": side["tokens"], "index": side["index"]}

    def augment(self, side: dict[str, Tensor], draws: Any) -> dict[str, Tensor]:
        return {"ids": side["tokens"] + 100, "index": side["index"]}


class Pairs:
    modality = "image-text"

    def __init__(self) -> None:
        size = InputSpec(modality="image", size=(3, 8, 8), mean=(0.0,) * 3, std=(1.0,) * 3)
        self.parts = (ImagePipeline(size), Words())

    def prepare(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        made = {"index": batch["index"], "label": batch["label"]}
        for part in self.parts:
            side = part.prepare(side_of(batch, part.modality))
            made |= {f"{part.modality}.{key}": value for key, value in side.items() if key != "index"}
        return made


def batch(rows: int = 40) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return {
        "image.image": torch.randint(0, 256, (rows, 3, 8, 8), generator=draw, dtype=torch.uint8),
        "text.tokens": torch.randint(1, 9, (rows, 5, 3), generator=draw, dtype=torch.int32),
        "text.length": torch.full((rows,), 5),
        "index": torch.arange(rows),
        "label": torch.zeros(rows, dtype=torch.long),
    }


def view(crop: float = 0.9) -> Any:
    return pair_view(Pairs(), SimpleNamespace(seed=0, options={"crop": crop}))


def test_a_view_is_paired_as_its_pipeline_is() -> None:
    assert isinstance(view(), Paired)
    assert view().modality == "image-text"


def test_pictures_are_moved_a_little_and_keep_sides_and_colours() -> None:
    """Left stays left and red stays red in every epoch: a picture whose left half is red and right half is blue."""
    canvas = torch.zeros(200, 3, 16, 16, dtype=torch.uint8)
    canvas[:, 0, :, :8], canvas[:, 2, :, 8:] = 200, 200
    varied = cropped(canvas, HashDraws(0, 1, torch.arange(200)), 0.6)
    assert varied.dtype == torch.uint8
    assert (varied[:, 0, :, 0] == 200).all()
    assert (varied[:, 2, :, -1] == 200).all()
    assert (varied[:, 1] == 0).all()
    border = (varied[:, 0] > 100).sum(dim=2)[:, 0]  # columns of red: the middle, moved by at most (1 - sqrt(0.6)) / 2
    assert border.min() >= 5
    assert border.max() <= 11
    assert len(border.unique()) >= 4


def test_a_crop_is_a_part_of_the_picture_scaled_back() -> None:
    """A slope stays a slope: its ends lie within the picture's, and the share of the area is what was asked for."""
    ramp = torch.arange(0, 256, 4, dtype=torch.uint8).expand(500, 3, 64, 64).contiguous()
    varied = cropped(ramp, HashDraws(3, 0, torch.arange(500)), 0.49).float()
    span = (varied[:, 0, 0, -1] - varied[:, 0, 0, 0]) / 252
    assert span.min() >= 0.69
    assert span.max() <= 1.0
    assert float(((span * 63 + 1) / 64).square().mean()) == pytest.approx((1 + 0.49) / 2, abs=0.03)
    assert (varied[:, 0, 0] == varied[:, 2, -1]).all()
    assert torch.equal(cropped(ramp, HashDraws(3, 0, torch.arange(500)), 1.0), ramp)


def test_training_varies_each_side_in_its_own_way_and_per_sample() -> None:
    rows = batch()
    varied = view(0.5).augment(rows, HashDraws(0, 0, rows["index"]))
    assert set(varied) == {"index", "label", "image.image", "text.ids"}
    assert torch.equal(varied["text.ids"], rows["text.tokens"] + 100)
    still = view().prepare(rows)
    assert not torch.equal(varied["image.image"], still["image.image"])
    some = {name: tensor[7:9] for name, tensor in rows.items()}
    again = view(0.5).augment(some, HashDraws(0, 0, some["index"]))
    assert torch.equal(again["image.image"], varied["image.image"][7:9])
    left = view(0.5).unvaried(rows, HashDraws(0, 0, rows["index"]))  # --no-augment
    assert torch.equal(left["image.image"], still["image.image"])
    fixed = view(1.0).augment(rows, HashDraws(0, 0, rows["index"]))
    assert torch.equal(fixed["image.image"], still["image.image"])


def test_keys_tell_items_apart_and_do_not_see_padding() -> None:
    rows = batch()
    rows["image.image"][5] = rows["image.image"][3]
    rows["text.tokens"][6] = rows["text.tokens"][2]
    rows["image.image"][8] = rows["image.image"][9].flip(-1)  # the same pixels elsewhere
    keys = view().prepare(rows)["keys"]
    assert keys.shape == (40, 2)
    assert len(keys[:, 0].unique()) == 39
    assert len(keys[:, 1].unique()) == 39
    assert keys[5, 0] == keys[3, 0]
    assert keys[6, 1] == keys[2, 1]
    longer = {**rows, "text.tokens": torch.nn.functional.pad(rows["text.tokens"], (0, 0, 0, 4))}
    assert torch.equal(view().prepare(longer)["keys"], keys)
    sound = torch.randn(3, 20)
    other = sound.clone()
    other[1, 4] += 1e-6
    same = content_keys({"w": sound}, "w") == content_keys({"w": other}, "w")
    assert same.tolist() == [True, False, True]


def test_recall_is_over_the_whole_split_and_same_items_count_once() -> None:
    metrics = RecallMetrics(("image", "text"))
    eye = torch.eye(6)
    first, second = eye[[0, 0, 1, 2, 3]], eye[[0, 4, 1, 2, 2]]
    keys = torch.tensor([[0, 0], [0, 4], [1, 1], [2, 2], [3, 2]])
    for part in (slice(0, 2), slice(2, 5)):
        metrics.update(torch.stack([first, second], 1)[part], {"keys": keys[part]})
    found = metrics.compute()
    assert found["image_to_text_recall_at_1"] == pytest.approx(3 / 4)
    assert found["text_to_image_recall_at_1"] == pytest.approx(3 / 4)
    metrics.reset()
    metrics.update(torch.ones(9, 2, 4) / 2, {"keys": torch.arange(18).view(9, 2)})
    assert metrics.compute()["image_to_text_recall_at_5"] == 0.0
