"""A trace of a few steps for people who look for time: ``profile/trace.json`` opens in Perfetto or chrome://tracing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import profiler

from zoo.console import say

WAIT, WARMUP, ACTIVE = 2, 1, 3


@contextmanager
def profiled(folder: Path, device: torch.device) -> Iterator[Callable[[], None]]:
    """Gives a function to call after each step. Steps 4 to 6 are traced, so that allocation and autotuning are not.

    Writes ``folder/trace.json`` and prints the most expensive operations. A run of fewer steps leaves no trace.
    """
    cuda = device.type == "cuda"
    activities = [profiler.ProfilerActivity.CPU, *([profiler.ProfilerActivity.CUDA] if cuda else [])]

    def report(trace: profiler.profile) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        trace.export_chrome_trace(str(folder / "trace.json"))
        say(trace.key_averages().table(sort_by="self_cuda_time_total" if cuda else "self_cpu_time_total", row_limit=15))
        say(f"profile: {folder / 'trace.json'}")

    with profiler.profile(
        activities=activities,
        schedule=profiler.schedule(wait=WAIT, warmup=WARMUP, active=ACTIVE, repeat=1),
        on_trace_ready=report,
    ) as running:
        yield running.step
