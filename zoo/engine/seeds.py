"""Random numbers as a function of where in the run they are drawn, so that nothing about them needs saving."""

from __future__ import annotations

import hashlib

import torch


def seed_for(*where: int) -> int:
    """A 63-bit seed for e.g. (seed, step, rank, phase, micro-batch); unrelated for neighbouring places."""
    digest = hashlib.blake2b(repr(where).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def seed_torch(device: torch.device, *where: int) -> None:
    """Seed torch's generators on the CPU and ``device`` for one forward pass (dropout, stochastic depth, masking)."""
    seed = seed_for(*where)
    # torch.manual_seed would also queue a call, with a formatted stack, for every accelerator not yet in use.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
