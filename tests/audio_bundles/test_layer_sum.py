"""Heads on a learned mixture of layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from audio_toys import clips, padded, tiny_wav2vec
from torch import Tensor

from zoo.engine.optim import layerwise_groups
from zoo.protocols import Features
from zoo.tasks import SupervisedTask
from zoo_audio.layer_sum import (
    MOST,
    LayersClassificationHead,
    LayersMultiLabelHead,
    LayersRegressionHead,
    LayerSum,
)
from zoo_registry import build_registry
from zoo_registry.errors import UsageError

HEADS = (LayersClassificationHead, LayersMultiLabelHead, LayersRegressionHead)
LABELS = ("a", "b", "c")


def mixed_slowly(weights: Tensor, layers: tuple[Tensor, ...], mask: Tensor) -> Tensor:
    """The sum of the layers first, then the mean of each clip, as s3prl does it."""
    share = weights[: len(layers)].softmax(0)
    total = sum(part * layer for part, layer in zip(share, layers, strict=True))
    return torch.stack([row[real].mean(0) for row, real in zip(total, mask, strict=True)])


def test_it_is_the_mean_of_a_weighted_sum() -> None:
    torch.manual_seed(0)
    layers = tuple(torch.randn(3, 7, 5) for _ in range(4))
    mask = torch.arange(7) < torch.tensor([7, 1, 4])[:, None]
    mixture = LayerSum(5)
    torch.testing.assert_close(mixture(layers, mask), mixed_slowly(torch.zeros(4), layers, mask))
    torch.testing.assert_close(mixture(layers, None), torch.stack(layers).mean((0, 2)))
    with torch.no_grad():
        mixture.weight.normal_()
    torch.testing.assert_close(mixture(layers, mask), mixed_slowly(mixture.weight, layers, mask))


def test_only_the_weights_of_layers_learn() -> None:
    torch.manual_seed(0)
    mixture = LayerSum(5)
    mixture(tuple(torch.randn(3, 7, 5) for _ in range(4)), None).square().sum().backward()
    assert mixture.weight.grad is not None
    assert mixture.weight.grad[:4].all()
    assert not mixture.weight.grad[4:].any()


@pytest.mark.parametrize(
    "layers",
    [None, (), (torch.zeros(1, 2, 5),) * (MOST + 1), (torch.zeros(1, 2, 5), torch.zeros(1, 2, 6))],
    ids=["none", "empty", "many", "widths"],
)
def test_what_cannot_be_mixed(layers: Any) -> None:
    with pytest.raises(UsageError, match="sum of layers needs 1 to 64"):
        LayerSum(5)(layers, None)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", ["wav2vec2_large", "wavlm"])
def test_padding_changes_nothing(head: Any, kind: str) -> None:
    torch.manual_seed(0)
    task = SupervisedTask(tiny_wav2vec(kind), head(16, LABELS)).eval()
    with torch.no_grad():
        task.head.layer_sum.weight.normal_()
        task.head.linear.weight.normal_()
    sounds = clips([4000, 300, 9000])

    def logits(batch: dict[str, Tensor]) -> Tensor:
        with torch.no_grad():
            return task.head(task.backbone(batch, task.head.uses))

    together = logits(padded(sounds, more=1000))
    for row, sound in enumerate(sounds):
        torch.testing.assert_close(together[row], logits(padded([sound]))[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("head", HEADS)
def test_the_mixture_is_saved_with_the_head(head: Any) -> None:
    torch.manual_seed(0)
    trained, fresh = head(5, LABELS), head(5, LABELS)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.normal_()
    fresh.load_state_dict(trained.state_dict())
    features = Features(pooled=torch.zeros(2, 5), layers=tuple(torch.randn(2, 3, 5) for _ in range(3)))
    torch.testing.assert_close(fresh(features), trained(features), atol=0, rtol=0)
    assert "layer_sum.weight" in trained.state_dict()


def test_the_layer_that_tells_wins() -> None:
    torch.manual_seed(0)
    head = LayersClassificationHead(6, LABELS)
    label = torch.arange(60) % 3
    told = torch.nn.functional.one_hot(label, 6).float()[:, None] + 0.1 * torch.randn(60, 4, 6)
    features = Features(pooled=told[:, 0], layers=(torch.randn(60, 4, 6), told, torch.randn(60, 4, 6)))
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(100):
        loss, count = head.loss(head(features), {"label": label})
        optimizer.zero_grad()
        (loss / count).backward()
        optimizer.step()
    share = head.layer_sum.weight[:3].softmax(0)
    assert float(share[1].detach()) > 0.6
    assert (head(features).argmax(1) == label).all()


def test_the_mixture_is_not_decayed() -> None:
    task = SupervisedTask(tiny_wav2vec(), LayersClassificationHead(16, LABELS))
    groups = layerwise_groups(task.layer_groups(), weight_decay=0.1)
    decayed = {name: group.weight_decay for group in groups for name, _ in group.params}
    assert decayed["head.layer_sum.weight"] == 0
    assert decayed["head.linear.weight"] > 0


def test_they_are_asked_for_by_name_and_never_the_default() -> None:
    registry = build_registry()
    for task in ("classification", "multi-label", "regression"):
        named = [entry.id for entry in registry.heads_for(task, "audio")]
        assert named[0] == f"core/{task}"
        assert f"audio/layers-{task}" in named
        assert registry.head(f"layers-{task}").spec.uses == ("layers",)
