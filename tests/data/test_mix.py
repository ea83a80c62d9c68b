from __future__ import annotations

import numpy as np
import pytest
import torch

from zoo.data.batches import Mix
from zoo.data.draws import HashDraws
from zoo.data.mix import apply_mix, beta_quantile
from zoo_registry.errors import UsageError


def batch(count: int = 32, side: int = 12, classes: int = 4) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "image": torch.rand(count, 3, side, side, generator=generator),
        "label": torch.randint(classes, (count,), generator=generator),
        "index": torch.arange(count) + 100,
    }


def slow_mix(data: dict[str, torch.Tensor], mix: Mix, draws: HashDraws) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = data["image"], torch.eye(mix.classes)[data["label"]]
    u = draws.uniform("mix", 5)
    mixed, targets = images.clone(), labels.clone()
    count, _, height, width = images.shape
    for i in range(count):
        j = i - 1 if i else count - 1
        cut = mix.cutmix and (not mix.mixup or u[i, 1] < 0.5)
        if cut:
            side = (1 - float(beta_quantile(u[i : i + 1, 0], mix.cutmix))) ** 0.5
            pasted = 0
            for y in range(height):
                for x in range(width):
                    near_x = abs((x + 0.5) / width - float(u[i, 2])) < side / 2
                    near_y = abs((y + 0.5) / height - float(u[i, 3])) < side / 2
                    if near_x and near_y:
                        mixed[i, :, y, x] = images[j, :, y, x]
                        pasted += 1
            share = 1 - pasted / (height * width)
        else:
            column = 4 if mix.cutmix else 0
            share = float(beta_quantile(u[i : i + 1, column], mix.mixup))
            mixed[i] = share * images[i] + (1 - share) * images[j]
        targets[i] = share * labels[i] + (1 - share) * labels[j]
    return mixed, targets


@pytest.mark.parametrize("mix", [Mix(0.4, 0, 4), Mix(0, 1.0, 4), Mix(0.2, 1.0, 4)])
def test_mixing_equals_a_slow_reference(mix: Mix) -> None:
    data, draws = batch(), HashDraws(0, 1, torch.arange(32) + 100)
    fast = apply_mix(data, "image", mix, draws)
    images, labels = slow_mix(data, mix, draws)
    assert torch.allclose(fast["image"], images, atol=1e-6)
    assert torch.allclose(fast["label"], labels, atol=1e-6)
    assert torch.allclose(fast["label"].sum(1), torch.ones(32), atol=1e-6)
    assert not torch.allclose(fast["image"], data["image"])
    assert fast["index"] is data["index"]


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.4, 1.0, 3.0])
def test_shares_are_beta_distributed(alpha: float) -> None:
    u = (torch.arange(200_001, dtype=torch.float32) / 200_001).contiguous()
    ours = np.sort(beta_quantile(u, alpha).numpy().astype(np.float64))
    drawn = np.sort(np.random.default_rng(0).beta(alpha, alpha, 200_000))
    grid = np.linspace(0.001, 0.999, 300)
    ours_cdf = np.searchsorted(ours, grid) / len(ours)
    drawn_cdf = np.searchsorted(drawn, grid) / len(drawn)
    assert np.abs(ours_cdf - drawn_cdf).max() < 0.006  # Kolmogorov-Smirnov, p about 1e-6 at this size
    assert ours.min() >= 0
    assert ours.max() <= 1


def test_multi_label_targets_are_mixed_too() -> None:
    data = batch()
    data["label"] = torch.nn.functional.one_hot(data["label"], 4).float()
    mixed = apply_mix(data, "image", Mix(1.0, 0, 4), HashDraws(0, 0, data["index"]))
    assert mixed["label"].shape == (32, 4)
    assert torch.allclose(mixed["label"].sum(1), torch.ones(32), atol=1e-6)


def test_what_cannot_be_mixed_is_refused() -> None:
    data = batch()
    draws = HashDraws(0, 0, data["index"])
    with pytest.raises(UsageError, match="class labels"):
        apply_mix({**data, "label": torch.rand(32)}, "image", Mix(0.2, 0, 4), draws)
    with pytest.raises(UsageError, match="images"):
        apply_mix({**data, "image": torch.rand(32, 8)}, "image", Mix(0, 1.0, 4), draws)
    with pytest.raises(UsageError, match="negative"):
        Mix(-1)
    assert not Mix()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_mixes_the_same() -> None:
    data = batch()
    there = {key: value.cuda() for key, value in data.items()}
    mix = Mix(0.2, 1.0, 4)
    ours = apply_mix(there, "image", mix, HashDraws(0, 1, there["index"]))
    reference = apply_mix(data, "image", mix, HashDraws(0, 1, data["index"]))
    for key in ("image", "label"):
        assert torch.allclose(ours[key].cpu(), reference[key], atol=1e-5)
