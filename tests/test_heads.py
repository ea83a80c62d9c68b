"""Heads: losses against slow references, decoding, initialisation."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zoo.heads import ClassificationHead, MultiLabelHead, RegressionHead
from zoo.plugin import zoo_heads
from zoo.protocols import Features
from zoo_registry.builders import load_builder
from zoo_registry.errors import DataError, UsageError
from zoo_registry.specs import HeadSpec

LABELS = ("a", "b", "c")


def logits_and_features(seed: int = 0) -> tuple[Tensor, Features]:
    random = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(5, 3, generator=random), Features(pooled=torch.randn(5, 8, generator=random))


def slow_cross_entropy(logits: Tensor, target: list[list[float]]) -> float:
    total = 0.0
    for row, wanted in zip(logits.tolist(), target, strict=True):
        norm = math.log(sum(math.exp(value) for value in row))
        total -= sum(share * (value - norm) for value, share in zip(row, wanted, strict=True))
    return total


def one_hot(ids: list[int], smoothing: float = 0.0) -> list[list[float]]:
    return [[(1 - smoothing) * (i == j) + smoothing / 3 for j in range(3)] for i in ids]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_classification_loss(smoothing: float) -> None:
    logits, _ = logits_and_features()
    head = ClassificationHead(8, LABELS, label_smoothing=smoothing).train()
    loss, count = head.loss(logits, {"label": torch.tensor([0, 2, 1, 1, 0])})
    assert float(loss) == pytest.approx(slow_cross_entropy(logits, one_hot([0, 2, 1, 1, 0], smoothing)), rel=1e-5)
    assert float(count) == 5


def test_classification_loss_of_mixed_labels() -> None:
    logits, _ = logits_and_features()
    mixed = torch.tensor([[0.3, 0.7, 0.0], [1, 0, 0], [0, 0.5, 0.5], [0, 0, 1], [0.2, 0.3, 0.5]], dtype=torch.float64)
    loss, _ = ClassificationHead(8, LABELS).loss(logits, {"label": mixed})
    assert float(loss) == pytest.approx(slow_cross_entropy(logits, mixed.tolist()), rel=1e-5)


def test_smoothing_is_for_training_only() -> None:
    logits, _ = logits_and_features()
    batch = {"label": torch.tensor([0, 2, 1, 1, 0])}
    smooth, plain = ClassificationHead(8, LABELS, label_smoothing=0.3), ClassificationHead(8, LABELS)
    assert float(smooth.eval().loss(logits, batch)[0]) == float(plain.eval().loss(logits, batch)[0])
    assert float(smooth.train().loss(logits, batch)[0]) != float(plain.train().loss(logits, batch)[0])


def test_multilabel_loss_and_decode() -> None:
    logits, _ = logits_and_features()
    target = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0], [0, 0, 1]])
    head = MultiLabelHead(8, LABELS)
    loss, count = head.loss(logits, {"label": target})
    slow = 0.0
    for row, wanted in zip(logits.tolist(), target.tolist(), strict=True):
        for value, yes in zip(row, wanted, strict=True):
            probability = 1 / (1 + math.exp(-value))
            slow -= math.log(probability if yes else 1 - probability)
    assert float(loss) == pytest.approx(slow, rel=1e-5)
    assert float(count) == 5
    decoded = head.decode(logits)
    assert torch.equal(decoded["label"], logits >= 0)
    torch.testing.assert_close(decoded["scores"], 1 / (1 + (-logits).exp()))


def test_classification_decode() -> None:
    logits, _ = logits_and_features()
    decoded = ClassificationHead(8, LABELS).decode(logits)
    torch.testing.assert_close(decoded["scores"].sum(dim=1), torch.ones(5))
    torch.testing.assert_close(decoded["scores"], logits.exp() / logits.exp().sum(dim=1, keepdim=True))
    assert torch.equal(decoded["label"], logits.argmax(dim=1))


def test_regression_trains_in_standard_units_and_answers_in_the_users() -> None:
    _, features = logits_and_features()
    head = RegressionHead(8, mean=250_000.0, std=40_000.0)
    values = head(features)
    assert values.shape == (5,)
    raw = head.linear(features.pooled).squeeze(1)
    torch.testing.assert_close(values, raw * 40_000 + 250_000)
    target = torch.tensor([200_000.0, 250_000, 300_000, 310_000, 190_000])
    loss, count = head.loss(values, {"label": target})
    slow = sum(((v - t) / 40_000) ** 2 for v, t in zip(values.tolist(), target.tolist(), strict=True))
    assert float(loss.detach()) == pytest.approx(slow, rel=1e-4)
    assert float(count) == 5
    loss.backward()
    assert float(head.linear.weight.grad.abs().max()) < 100, "gradients must not carry the user's units"
    assert torch.equal(head.decode(values)["value"], values)


def test_regression_statistics_are_saved_with_the_head() -> None:
    saved = RegressionHead(4, mean=3.0, std=2.0).state_dict()
    head = RegressionHead(4)
    head.load_state_dict(saved)
    assert (float(head.mean), float(head.std)) == (3.0, 2.0)


@pytest.mark.parametrize("head", [ClassificationHead(8, LABELS), MultiLabelHead(8, LABELS), RegressionHead(8)])
def test_a_fresh_head_barely_moves_its_backbone(head: Any) -> None:
    pooled = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    assert float(head.linear(pooled).std()) < 0.1
    assert float(head.linear.weight.std()) > 0.001
    assert not head.linear.bias.any()


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    head = ClassificationHead(64, LABELS, dropout=0.5)
    features = Features(pooled=torch.ones(4, 64))
    head.eval()
    assert torch.equal(head(features), head(features))
    head.train()
    assert not torch.equal(head(features), head(features))


@pytest.mark.parametrize("spec", zoo_heads(), ids=lambda spec: spec.name)
def test_registered_heads_build_and_overfit(spec: HeadSpec) -> None:
    torch.manual_seed(0)
    head = load_builder(spec.builder)(dim=8, labels=LABELS)
    assert isinstance(head, nn.Module)
    assert (head.task, head.uses) == (spec.task, spec.uses)
    _, features = logits_and_features()
    label = {
        "classification": torch.tensor([0, 1, 2, 0, 1]),
        "multi-label": torch.tensor([[1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1], [1, 0, 0]]),
        "regression": torch.tensor([0.5, -1.0, 2.0, 0.0, 1.0]),
    }[spec.task]
    optimizer = torch.optim.Adam(head.parameters(), lr=0.1)
    metrics = head.metrics()
    for _ in range(300):
        loss, count = head.loss(head(features), {"label": label})
        optimizer.zero_grad()
        (loss / count).backward()
        optimizer.step()
    metrics.update(head(features).detach(), {"label": label})
    name, mode = head.monitor
    value = metrics.compute()[name]
    assert value > 0.99 if mode == "max" else value < 0.05


def test_bad_options() -> None:
    with pytest.raises(DataError, match="two classes or more, but the data has 1"):
        ClassificationHead(8, ("only",))
    with pytest.raises(DataError):
        MultiLabelHead(8, ())
    with pytest.raises(UsageError, match="label_smoothing"):
        ClassificationHead(8, LABELS, label_smoothing=1.0)
    for mean, std in ((0.0, 0.0), (math.nan, 1.0), (0.0, math.inf)):
        with pytest.raises(UsageError):
            RegressionHead(8, mean=mean, std=std)
