"""How much of the device a run uses: floating-point operations of its first step, counted as they happen, over the
device's peak (Chowdhery et al., "PaLM", arXiv 2204.02311, appendix B: model FLOPs utilisation). A step's count stands
for all: rows of unequal length make it an estimate. What is computed twice to save memory counts twice."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from zoo.engine.runtime import Runtime

FEWEST = 20  # steps of a run worth measuring
PEAK_SECONDS = 0.1

# Dense peaks in TFLOP/s from the makers' data sheets, of (fp32 without tensor cores, bf16, fp16) with sums in fp32. The
# first name that the device's contains.
PEAKS: tuple[tuple[str, float, float, float], ...] = (
    ("H200 NVL", 60.0, 835.5, 835.5),
    ("H200", 67.0, 989.5, 989.5),
    ("H100 PCIe", 51.0, 756.5, 756.5),
    ("H100 NVL", 60.0, 835.5, 835.5),
    ("H100", 67.0, 989.5, 989.5),
    ("A100", 19.5, 312.0, 312.0),
    ("L40S", 91.6, 362.0, 362.0),
    ("L4", 30.3, 121.0, 121.0),
    ("A10G", 31.5, 70.0, 70.0),
    ("A10", 31.2, 125.0, 125.0),
    ("T4", 8.1, 8.1, 65.0),
    ("V100-PCIE", 14.0, 14.0, 112.0),
    ("V100", 15.7, 15.7, 125.0),
    ("RTX 4090", 82.6, 165.2, 165.2),
    ("RTX 3090", 35.6, 71.0, 71.0),
)
_PRECISIONS = ("fp32", "bf16", "fp16")

_aten = torch.ops.aten


def _attention(query: Any, key: Any, value: Any, *args: Any, **options: Any) -> int:
    return int(sdpa_flop_count(query.shape, key.shape, value.shape))


def _attention_backward(grad: Any, query: Any, key: Any, value: Any, *args: Any, **options: Any) -> int:
    """Five products, of which the forward pass has two."""
    return 5 * _attention(query, key, value) // 2


# torch counts the attention of accelerators alone.
_OWN: dict[Any, Callable[..., int]] = {
    _aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
# Kernels with products inside that nobody counts: a network with one of them has no figure.
_CLOSED = frozenset({"_cudnn_rnn", "mkldnn_rnn_layer", "miopen_rnn", "_thnn_fused_lstm_cell", "_trilinear"})


class Counter(TorchDispatchMode):
    """Adds up the floating-point operations of matrix products, convolutions and attention while it is entered.

    It calls each operation as it is: the numbers are those of a run without it.

    Attributes:
        flops: the sum; a multiply-add is two.
        complete: False where an operation could not be counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops, self.complete = 0, True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        packet = getattr(func, "_overloadpacket", func)
        try:
            if packet in _OWN:
                self.flops += _OWN[packet](*args, **kwargs)
            elif packet in flop_registry:
                self.flops += int(flop_registry[packet](*args, **kwargs, out_val=out))
            elif getattr(packet, "__name__", "") in _CLOSED:
                self.complete = False
        except Exception:  # a formula that does not fit is no reason to stop a run
            self.complete = False
        return out


class Utilisation:
    """Turns samples per second into ``tflops`` and, where the device's peak is known, ``mfu``.

    Not measured: runs of a few steps, compiled ones, and those whose parameters are spread over processes.
    """

    def __init__(self, runtime: Runtime, precision: str, steps: int, compiled: bool) -> None:
        self.runtime, self.precision = runtime, precision
        self.wanted = steps >= FEWEST and not compiled and not runtime.sharded
        self.counted: dict[str, float] = {}  # FLOP a sample, by phase
        self.peak: float | None = None

    @contextmanager
    def counting(self, phase: str, samples: int) -> Iterator[None]:
        """Around the forward and backward passes of a phase over ``samples`` samples of this process: counts those of
        the first step."""
        if not self.wanted or phase in self.counted:
            yield
            return
        with Counter() as counter:
            yield
        self.counted[phase] = counter.flops / samples
        if not counter.complete:
            self.wanted = False
        elif self.peak is None:
            self.peak = device_peak(self.runtime.device, self.precision)

    def read(self, samples_per_second: float) -> dict[str, float]:
        """``tflops``: TFLOP/s of all processes together; ``mfu``: their share of the peaks, 0 to 1."""
        rate = sum(self.counted.values()) * samples_per_second
        if not (self.wanted and rate):
            return {}
        known = {"mfu": rate / (self.peak * self.runtime.world)} if self.peak else {}
        return {"tflops": rate / 1e12, **known}


def device_peak(device: torch.device, precision: str) -> float | None:
    """Peak in FLOP/s: of the data sheet of a GPU, of a large matrix product on the CPU; None where nobody knows."""
    if device.type == "cuda":
        return named_peak(torch.cuda.get_device_name(device), precision)
    return _cpu_peak(precision, torch.get_num_threads()) if device.type == "cpu" else None


def named_peak(name: str, precision: str) -> float | None:
    """Peak in FLOP/s of a GPU with that name, or None."""
    column = 1 + _PRECISIONS.index(precision)
    words = name.replace("-", " ").split()
    for entry in PEAKS:
        wanted = entry[0].replace("-", " ").split()
        if any(words[i : i + len(wanted)] == wanted for i in range(len(words))):
            return float(entry[column]) * 1e12  # type: ignore[arg-type]
    return None


@functools.cache
def _cpu_peak(precision: str, threads: int) -> float:
    """The best of some matrix products with that many threads, which are those of the process."""
    size = 1024
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left = torch.ones(size, size, dtype=dtype)
    began, best = time.perf_counter(), float("inf")
    while time.perf_counter() - began < PEAK_SECONDS:
        start = time.perf_counter()
        left @ left
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best
