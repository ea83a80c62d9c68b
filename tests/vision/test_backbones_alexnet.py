"""AlexNet through torchvision, against torchvision's own forward."""

from __future__ import annotations

import pytest
import torch
from torchvision.models import alexnet

from zoo_registry.errors import WeightsError
from zoo_registry.specs import InputSpec, ModelSpec
from zoo_vision.alexnet import build_alexnet

INPUT = InputSpec(modality="image", size=(3, 96, 96), mean=(0.5,) * 3, std=(0.2,) * 3)
SPEC = ModelSpec(name="alexnet", builder="zoo_vision.alexnet:build_alexnet", pipeline="", input=INPUT)


@torch.no_grad()
def test_features_agree_with_torchvision() -> None:
    torch.manual_seed(0)
    original = alexnet(weights=None).eval()
    backbone = build_alexnet(SPEC, INPUT, None, original.state_dict()).eval()
    batch = {"image": torch.randn_like(backbone.example_inputs(2)["image"])}
    features = backbone(batch, ("pooled", "tokens", "layers"))
    torch.testing.assert_close(original.classifier[6](features.pooled), original(batch["image"]))
    maps = original.features(batch["image"])
    assert features.grid == tuple(maps.shape[2:])
    torch.testing.assert_close(features.tokens[:, 1], maps[:, :, 0, 1])
    assert [layer.shape[2] for layer in features.layers] == [64, 192, 384, 256, 256]
    saved = backbone.module.state_dict()
    again = build_alexnet(SPEC, INPUT, None, saved).module.state_dict()
    assert all(torch.equal(again[key], value) for key, value in saved.items())


def test_groups_and_strictness() -> None:
    with torch.device("meta"):
        state = alexnet(weights=None).state_dict()
        backbone = build_alexnet(SPEC, INPUT)
    groups = backbone.layer_groups()
    assert [len(members) for _, members in groups] == [2] * 7
    assert [key for _, members in groups for key, _ in members] == [key for key, _ in backbone.named_parameters()]
    del state["features.3.weight"]
    with pytest.raises(WeightsError, match=r"features\.3\.weight"):
        build_alexnet(SPEC, INPUT, None, state)
