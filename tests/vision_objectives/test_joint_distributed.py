"""Two processes learn what one learns from the same batches."""

from __future__ import annotations

import json
from pathlib import Path

import joint_ranks
import pytest
import torch
from joint_toys import SMALL, last, losses
from ranks import start_ranks

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    one, two = (tmp_path_factory.mktemp(name) for name in ("one", "two"))
    threads = torch.get_num_threads()
    try:
        joint_ranks.main(one)
    finally:
        torch.set_num_threads(threads)
    start_ranks(HERE / "joint_ranks.py", {two: 2})
    return one, two


@pytest.mark.parametrize("name", SMALL)
def test_two_processes_train_as_one_does(outcomes: tuple[Path, Path], name: str) -> None:
    one, two = (folder / name for folder in outcomes)
    assert losses(two) == pytest.approx(losses(one), abs=1e-4)
    first, second = last(one)["model"], last(two)["model"]
    for key, tensor in first.items():  # the teacher, its centre and all
        torch.testing.assert_close(second[key], tensor, atol=2e-5, rtol=1e-3, msg=lambda text, key=key: f"{key} {text}")


@pytest.mark.parametrize("name", SMALL)
def test_features_are_watched_over_all_processes(outcomes: tuple[Path, Path], name: str) -> None:
    one, two = (json.loads((folder / "metrics.json").read_text())[name] for folder in outcomes)
    for metric in ("embedding_std", "knn_accuracy"):
        assert two[metric] == pytest.approx(one[metric], abs=1e-4)


def test_the_centre_has_moved(outcomes: tuple[Path, Path]) -> None:
    centre = last(outcomes[1] / "dino")["model"]["centre"]
    assert centre.abs().sum() > 1e-3
