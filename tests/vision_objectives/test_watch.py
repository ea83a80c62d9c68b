from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from joint_toys import CLASSES, Toy, built, train
from sklearn.neighbors import NearestNeighbors

from zoo_vision.objectives.watch import Watch, neighbour_accuracy, spread


def normal(rows: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def test_the_spread_is_one_for_all_directions_and_zero_for_one() -> None:
    assert spread(normal(2000, 32)).item() == pytest.approx(1.0, abs=0.02)
    assert spread(5 * torch.ones(10, 4) * torch.arange(1, 11)[:, None]).item() == pytest.approx(0.0, abs=1e-6)
    few = normal(5, 3)
    unit = [(row / row.norm()).tolist() for row in few]
    stds = []
    for column in zip(*unit, strict=True):
        mean = sum(column) / 5
        stds.append((sum((value - mean) ** 2 for value in column) / 5) ** 0.5)
    assert spread(few).item() == pytest.approx(3**0.5 * sum(stds) / 3, rel=1e-5)


@pytest.mark.parametrize("rows", [2, 15, 60])
def test_neighbours_vote_as_in_a_loop_over_sklearn(rows: int) -> None:
    labels = torch.arange(rows) % 3
    features = normal(rows, 4) + torch.nn.functional.one_hot(labels, 4)
    unit = torch.nn.functional.normalize(features, dim=1).numpy()
    right = 0
    for row in range(rows):
        others = np.delete(np.arange(rows), row)
        near = NearestNeighbors(n_neighbors=min(20, rows - 1), metric="cosine", algorithm="brute").fit(unit[others])
        distances, found = near.kneighbors(unit[row : row + 1])
        votes = [0.0] * 3
        for distance, place in zip(distances[0], found[0], strict=True):
            votes[int(labels[others[place]])] += math.exp((1 - distance) / 0.07)
        right += votes.index(max(votes)) == int(labels[row])
    assert neighbour_accuracy(features, labels, 3) == pytest.approx(right / rows)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = normal(50, 3), torch.arange(50) % 2
    whole = neighbour_accuracy(features, labels, 2)
    monkeypatch.setattr("zoo.neighbours.CHUNK", 7)
    assert neighbour_accuracy(features, labels, 2) == whole


def test_one_sample_alone_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    watch = Watch(CLASSES)
    watch.update(normal(1, 4), {"label": torch.zeros(1, dtype=torch.long)})
    assert watch.compute() == {"embedding_std": 0.0, "knn_accuracy": 0.0}
    assert "collapse" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["simclr", "byol", "dino"])
def test_collapse_is_said_aloud(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    collapsed = train(name, built(name, Toy(constant=True)), tmp_path / "constant", steps=2).metrics
    assert collapsed["embedding_std"] < 1e-3
    assert "The features collapse" in capsys.readouterr().err
    alive = train(name, built(name), tmp_path / "alive", steps=2).metrics
    assert alive["embedding_std"] > 0.1
    assert "collapse" not in capsys.readouterr().err
