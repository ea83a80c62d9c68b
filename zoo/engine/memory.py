"""Running out of memory, told apart from other failures, and undone so that the step can run again."""

from __future__ import annotations

import resource
import sys

import torch
from torch import Tensor, nn

_PHRASES = (
    "out of memory",
    "defaultcpuallocator",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "cannot allocate memory",
)


def is_out_of_memory(error: BaseException) -> bool:
    """True for what CUDA, MPS, cuBLAS, cuDNN, the CPU allocator and Python raise when an allocation fails."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error).lower() for phrase in _PHRASES)


def free(device: torch.device) -> None:
    """Hand cached blocks back, so that a smaller attempt does not fail on fragmentation."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def peak_megabytes(device: torch.device) -> float:
    """Peak memory so far in MiB: of the accelerator's allocator, or of this process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # bytes there, KiB elsewhere


class Buffers:
    """A copy of a module's buffers (running statistics, queues): a forward pass moves them, so a step that is run again
    must begin with what they were."""

    def __init__(self, module: nn.Module) -> None:
        self.live: list[Tensor] = list(module.buffers())
        self.copy: list[Tensor] = [buffer.clone() for buffer in self.live]

    @torch.no_grad()
    def save(self) -> None:
        if self.live:
            torch._foreach_copy_(self.copy, self.live)

    @torch.no_grad()
    def restore(self) -> None:
        if self.live:
            torch._foreach_copy_(self.live, self.copy)
