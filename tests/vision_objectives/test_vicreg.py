from __future__ import annotations

import pytest
import torch
from joint_toys import built
from torch import Tensor

from zoo_vision.objectives.vicreg import redundancy, shortfall


def slow(vectors: Tensor) -> dict[str, float]:
    """The paper's equations 1 to 6 in the scale of the authors' code, number by number."""
    rows, _, width = vectors.shape
    values = vectors.double().tolist()
    apart = sum((a - b) ** 2 for one, other in values for a, b in zip(one, other, strict=True)) / (rows * width)
    short, redundant = 0.0, 0.0
    for side in (0, 1):
        mean = [sum(row[side][d] for row in values) / rows for d in range(width)]

        def covariance(a: int, b: int, side: int = side, mean: list[float] = mean) -> float:
            products = [(row[side][a] - mean[a]) * (row[side][b] - mean[b]) for row in values]
            return sum(products) / (rows - 1)

        short += sum(max(0.0, 1 - (covariance(d, d) + 1e-4) ** 0.5) for d in range(width)) / width / 2
        redundant += sum(covariance(a, b) ** 2 for a in range(width) for b in range(width) if a != b) / width
    return {"invariance": apart, "variance": short, "covariance": redundant}


def test_the_loss_equals_a_slow_reference() -> None:
    task = built("vicreg", invariance=3.0, variance=2.0, covariance=0.5)
    vectors = torch.randn(8, 2, 7, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.2, 2, 7)
    loss, count, logs = task.couple(vectors)
    wanted = slow(vectors)
    for name, value in wanted.items():
        assert logs[name].item() == pytest.approx(value, rel=1e-4)
        assert value > 0.01
    mean = 3 * wanted["invariance"] + 2 * wanted["variance"] + 0.5 * wanted["covariance"]
    assert count.item() == 8
    assert (loss / count).item() == pytest.approx(mean, rel=1e-4)


def test_collapse_costs_and_independent_dimensions_do_not() -> None:
    same = torch.ones(64, 4)
    assert shortfall(same).item() == pytest.approx(0.99)
    free = torch.randn(4096, 4, generator=torch.Generator().manual_seed(0)) * 1.2
    assert shortfall(free).item() == 0
    assert redundancy(free).item() < 0.01
    assert redundancy(free[:, :1].repeat(1, 4)).item() > 3
