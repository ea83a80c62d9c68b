from __future__ import annotations

import json
from pathlib import Path

import engine_ranks
import pytest
import torch
from engine_ragged import ragged_eval
from ranks import start_ranks
from safetensors.torch import load_file

from zoo.engine.checkpoint import Checkpoints

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    base, threads = tmp_path_factory.mktemp("ranks"), torch.get_num_threads()
    try:
        one, two = base / "one", base / "two"
        for folder in (one, two):
            folder.mkdir()
        engine_ranks.main(one)
        start_ranks(HERE / "engine_ranks.py", {two: 2})
        return one, two
    finally:
        torch.set_num_threads(threads)  # other tests compare bits with processes that have their own number


def curve(folder: Path, event: str) -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["event"] == event]


@pytest.mark.parametrize("case", ["rows", "micro", "tokens", "ragged"])
def test_two_processes_equal_one(outcomes: tuple[Path, Path], case: str) -> None:
    one, two = (folder / case for folder in outcomes)
    for event in ("train", "evaluation"):
        assert curve(two, event) == pytest.approx(curve(one, event), abs=1e-5)
    for name in ("last", "best"):
        first, second = (Checkpoints(folder / "checkpoints").load(name)[0] for folder in (one, two))
        for stem, tensors in first.items():
            assert tensors.keys() == second[stem].keys()
            for key, tensor in tensors.items():
                torch.testing.assert_close(second[stem][key], tensor, atol=1e-5, rtol=1e-4)


def test_logits_are_gathered_in_row_order(outcomes: tuple[Path, Path]) -> None:
    one, two = (load_file(folder / "out.safetensors") for folder in outcomes)
    assert two["index"].tolist() == list(range(21))
    torch.testing.assert_close(two["logits"], one["logits"], atol=1e-4, rtol=1e-4)


def test_token_logits_of_unequal_batches_are_gathered_as_one(outcomes: tuple[Path, Path]) -> None:
    one, two = (load_file(folder / "out.safetensors")["token_logits"] for folder in outcomes)
    assert one.shape == (21, 13, 3)
    for row, length in enumerate(ragged_eval().store.lengths):
        torch.testing.assert_close(two[row, :length], one[row, :length], atol=1e-4, rtol=1e-4)


def test_running_statistics_agree_over_processes(outcomes: tuple[Path, Path]) -> None:
    statistics = load_file(outcomes[1] / "out.safetensors")["statistics"]
    assert len(statistics) == 2
    assert torch.equal(statistics[0], statistics[1])


def test_a_signal_to_one_process_stops_all_and_they_continue_exactly(outcomes: tuple[Path, Path]) -> None:
    for folder in outcomes:
        assert load_file(folder / "out.safetensors")["code"] == 143
        stop, whole = (Checkpoints(folder / name / "checkpoints").load("last") for name in ("stop", "nonstop"))
        assert stop[1]["progress"] == whole[1]["progress"]
        for key, tensor in whole[0]["model"].items():
            assert torch.equal(stop[0]["model"][key], tensor)
