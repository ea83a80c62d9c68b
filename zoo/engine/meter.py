"""Training values that stay on the device until somebody looks: reading them is what makes a device wait."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch
from torch import Tensor

from zoo.engine.memory import peak_megabytes
from zoo.engine.runtime import Runtime
from zoo_registry.errors import ZooError

_NEVER = 2**62


class Meter:
    """Weighted sums since the last :meth:`read`, and the speed of training without evaluations and checkpoints."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._sums: dict[str, Tensor] = {}
        self._weights: dict[str, Tensor] = {}
        self._window = [0, 0.0]  # samples, seconds since the last read
        self._whole = [0, 0.0]  # of the run, without its first step
        self._mark = time.perf_counter()
        self.steps = 0

    def add(self, name: str, total: Tensor, weight: Tensor) -> None:
        """Count ``total``, a sum over ``weight`` things, towards the mean ``name``."""
        if name in self._sums:
            self._sums[name] = self._sums[name] + total
            self._weights[name] = self._weights[name] + weight
        else:
            self._sums[name], self._weights[name] = total, weight

    def stepped(self, samples: int) -> None:
        """A step over ``samples`` samples of all processes was issued."""
        now = time.perf_counter()
        self._window[0] += samples
        self._window[1] += now - self._mark
        if self.steps:  # the first step compiles, allocates and tunes
            self._whole[0] += samples
            self._whole[1] += now - self._mark
        self._mark = now
        self.steps += 1

    def skip_time(self) -> None:
        """What happened since the last step was no training."""
        self._mark = time.perf_counter()

    def read(self) -> dict[str, float]:
        """Means over all processes since the last call, samples per second and peak memory in MiB. Collective."""
        names = sorted(self._sums)
        pairs = [tensor.double() if tensor.device.type != "mps" else tensor.float() for tensor in self._values(names)]
        numbers = self.runtime.sum(torch.stack(pairs)).tolist() if pairs else []
        means = {
            name: total / weight if weight else 0.0
            for name, total, weight in zip(names, numbers[::2], numbers[1::2], strict=True)
        }
        # Reading has just waited for the device, and that wait is training.
        self._window[1] += (waited := time.perf_counter() - self._mark)
        self._whole[1] += waited if self.steps > 1 else 0.0
        self.skip_time()
        samples, seconds = self._window
        self._sums, self._weights, self._window = {}, {}, [0, 0.0]
        means["samples_per_second"] = samples / seconds if seconds else 0.0
        means["peak_mib"] = peak_megabytes(self.runtime.device)
        return means

    def samples_per_second(self) -> float:
        """Over the whole run so far, its first step aside."""
        samples, seconds = self._whole
        return samples / seconds if seconds else 0.0

    def _values(self, names: list[str]) -> list[Tensor]:
        return [tensor.detach() for name in names for tensor in (self._sums[name], self._weights[name])]


class FiniteGuard:
    """Remembers, on the device, the first step at which a loss or gradient was not finite."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.first = torch.full((), _NEVER, dtype=torch.int64, device=runtime.device)

    def observe(self, step: int, *values: Tensor) -> None:
        finite = torch.stack([value.isfinite() for value in values]).all()
        self.first = torch.where(finite | (self.first != _NEVER), self.first, step)

    def check(self, scales: Mapping[str, float]) -> None:
        """Raise where training has broken down; collective. ``scales``: fp16 loss scales, which fall towards 0 when
        gradients overflow whatever is tried.

        Raises:
            ZooError: names the first bad step, counted from 1.
        """
        first = -self.runtime.maximum(-int(self.first))
        remedy = "Lower --lr or use --precision fp32; the last checkpoint holds good weights."
        if first != _NEVER:
            raise ZooError(f"The loss or its gradient became NaN or infinite at step {first + 1}.", remedy)
        if any(scale < 2**-20 for scale in scales.values()):
            raise ZooError("The gradients overflow in fp16 at every loss scale.", remedy)
