"""Random numbers without state: each is a hash of what it is for, so resume, ranks and batch sizes cannot change it."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_COLUMN = 0xD1342543DE82EF95


def permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    """The sample order of one epoch: a permutation of ``range(n)``, int64 (n,), a function of its arguments alone."""
    key = np.array([seed & _MASK, epoch & _MASK], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).permutation(n)


class HashDraws:
    """:class:`zoo.protocols.Draws` by counter-based hashing (the finaliser of SplitMix64, Steele et al. 2014, twice).

    Args:
        seed, epoch: of the run.
        index: (B,) int64 row of each sample in its split; its device is where the numbers appear.
    """

    def __init__(self, seed: int, epoch: int, index: Tensor) -> None:
        self.key = _mix_int(_mix_int(seed & _MASK) + (epoch & _MASK))
        self.index = index.to(torch.int64)

    def uniform(self, stream: str, size: int) -> Tensor:
        """(B, size) float32 in [0, 1): 24 random bits each, one row a sample."""
        key = _mix_int(self.key + zlib.crc32(stream.encode()))
        columns = torch.arange(1, size + 1, device=self.index.device) * _signed(_COLUMN)
        rows = _mix(self.index * _signed(_GOLDEN) + _signed(key))
        bits = _mix(rows[:, None] + columns[None, :])
        return _shift(bits, 40).to(torch.float32) * 2.0**-24


def _mix_int(z: int) -> int:
    z = (z + _GOLDEN) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


# int64 on the tensor's own device, not numpy's uint64: integers wrap alike, and a GPU is never waited for.
def _mix(z: Tensor) -> Tensor:
    z = z + _signed(_GOLDEN)
    z = (z ^ _shift(z, 30)) * _signed(0xBF58476D1CE4E5B9)
    z = (z ^ _shift(z, 27)) * _signed(0x94D049BB133111EB)
    return z ^ _shift(z, 31)


def _shift(z: Tensor, bits: int) -> Tensor:
    return (z >> bits) & ((1 << (64 - bits)) - 1)  # the mask undoes the sign extension of a signed shift


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
