from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch

from zoo.data.draws import HashDraws, permutation

MASK = (1 << 64) - 1


def splitmix(z: int) -> int:
    z = (z + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def slow_uniform(seed: int, epoch: int, row: int, stream: str, column: int) -> float:
    key = splitmix((splitmix((splitmix(seed & MASK) + epoch) & MASK) + zlib.crc32(stream.encode())) & MASK)
    sample = splitmix((row * 0x9E3779B97F4A7C15 + key) & MASK)
    return (splitmix((sample + (column + 1) * 0xD1342543DE82EF95) & MASK) >> 40) / 2**24


def test_numbers_equal_a_reference_in_plain_integers() -> None:
    rows = [0, 1, 2, 41, 10**6]
    fast = HashDraws(7, 3, torch.tensor(rows)).uniform("crop", 4)
    slow = [[slow_uniform(7, 3, row, "crop", column) for column in range(4)] for row in rows]
    assert fast.dtype == torch.float32
    assert fast.tolist() == slow


def test_a_sample_draws_the_same_whatever_its_batch() -> None:
    whole = HashDraws(0, 5, torch.arange(100)).uniform("flip", 3)
    part = HashDraws(0, 5, torch.tensor([63, 2])).uniform("flip", 3)
    assert torch.equal(part, whole[[63, 2]])


@pytest.mark.parametrize("other", [(1, 0, "a"), (0, 1, "a"), (0, 0, "b")])
def test_seed_epoch_and_stream_each_change_everything(other: tuple[int, int, str]) -> None:
    rows = torch.arange(4096)
    first = HashDraws(0, 0, rows).uniform("a", 1)[:, 0]
    second = HashDraws(other[0], other[1], rows).uniform(other[2], 1)[:, 0]
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 0.06


def test_numbers_are_uniform_and_neighbours_unrelated() -> None:
    numbers = HashDraws(1, 2, torch.arange(20_000)).uniform("x", 3).double()
    assert numbers.min() >= 0
    assert numbers.max() < 1
    for column in numbers.T:
        counts = torch.histc(column, 20, 0, 1)
        assert float(((counts - 1000) ** 2 / 1000).sum()) < 60  # chi-square, 19 degrees: p < 1e-5
        assert abs(float(torch.corrcoef(torch.stack([column[:-1], column[1:]]))[0, 1])) < 0.04
    correlation = torch.corrcoef(numbers.T) - torch.eye(3)
    assert float(correlation.abs().max()) < 0.04


def test_negative_seeds_and_huge_epochs_are_fine() -> None:
    assert HashDraws(-1, 2**40, torch.arange(3)).uniform("x", 1).unique().numel() == 3


def test_permutation_is_one_and_depends_on_seed_and_epoch() -> None:
    first = permutation(3, 4, 50)
    assert sorted(first) == list(range(50))
    assert np.array_equal(first, permutation(3, 4, 50))
    assert not np.array_equal(first, permutation(3, 5, 50))
    assert not np.array_equal(first, permutation(4, 4, 50))
    assert not np.array_equal(permutation(3, 4, 50), permutation(4, 3, 50))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_draws_the_same_numbers() -> None:
    rows = torch.arange(1000)
    on_gpu = HashDraws(7, 3, rows.cuda()).uniform("crop", 4)
    assert on_gpu.is_cuda
    assert torch.equal(on_gpu.cpu(), HashDraws(7, 3, rows).uniform("crop", 4))
