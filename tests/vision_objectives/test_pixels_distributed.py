"""Two processes learn what one learns with a batch of both their shares, also of two phases in turn."""

from __future__ import annotations

import json
from pathlib import Path

import pixel_ranks
import pytest
import torch
from finetuning import write_photos
from ranks import start_ranks

from zoo.engine.checkpoint import Checkpoints

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    one, two = (tmp_path_factory.mktemp(name) for name in ("one", "two"))
    for folder in (one, two):
        write_photos(folder / "photos", train=12, val=4)
    threads = torch.get_num_threads()
    try:
        pixel_ranks.main(one)
    finally:
        torch.set_num_threads(threads)
    start_ranks(HERE / "pixel_ranks.py", {two: 2})
    return one, two


@pytest.mark.parametrize("name", pixel_ranks.MODELS)
def test_two_processes_train_as_one_does(outcomes: tuple[Path, Path], name: str) -> None:
    one, two = (folder / name for folder in outcomes)
    logged = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (one, two)]
    losses = [[line[key] for line in lines for key in line if key.endswith("loss")] for lines in logged]
    assert len(losses[0]) >= 4
    assert losses[1] == pytest.approx(losses[0], abs=1e-4, rel=1e-4)
    first, second = (Checkpoints(run / "checkpoints").load("last")[0]["model"] for run in (one, two))
    for key, tensor in first.items():
        torch.testing.assert_close(second[key], tensor, atol=2e-5, rtol=1e-3, msg=lambda text, key=key: f"{key} {text}")
