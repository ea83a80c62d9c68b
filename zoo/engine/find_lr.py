"""The learning-rate range test (Smith, "Cyclical learning rates for training neural networks", WACV 2017, arXiv
1506.01186): some steps whose learning rate rises exponentially, until the loss breaks away. What it finds is a function
of the seed, the data and the weights, and the task is afterwards what it was, bit for bit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zoo.engine.config import EngineConfig
from zoo.engine.loop import train_step
from zoo.engine.run import Run, begin, end, fit_momenta
from zoo.engine.runtime import Runtime
from zoo.engine.signals import StopSignals, stop_error
from zoo.protocols import ParamGroup, TrainBatches
from zoo_registry.errors import UsageError

FEWEST, MOST = 25, 100  # steps of a search: a quarter of the run's, within these
RANGE = {"adamw": (1e-6, 1.0), "sgd": (1e-5, 10.0)}
BROKEN = 4.0  # times the lowest loss, where the search stops


@dataclass(frozen=True)
class Search:
    """What a search saw.

    Attributes:
        rates: peak learning rates (n,), rising exponentially.
        losses: of each step; of several phases their sum. All finite.
        smoothed: their moving average.
        valley: the suggestion: half-way, by logarithm, down the longest fall of the smoothed loss; None where it never
            fell for long.
        steepest: learning rate of the smoothed loss's steepest fall before its minimum, or None.
        broke: whether the loss broke away before the largest rate was reached.
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    valley: float | None
    steepest: float | None
    broke: bool


def find_lr(
    task: Any,
    train: TrainBatches,
    config: EngineConfig,
    groups: Mapping[str, Sequence[ParamGroup]],
    *,
    runtime: Runtime,
) -> Search:
    """Search the peak learning rate for :func:`zoo.engine.loop.fit` with the same arguments, whose first batches it
    takes. All phases rise alike.

    Raises:
        UsageError: the parameters are spread over processes.
        Interrupted, Terminated: SIGINT or SIGTERM came.
    """
    if runtime.sharded:
        raise UsageError(
            "The learning rate cannot be searched with parameters spread over processes.",
            "Find it with one process or DDP, and give it with --lr.",
        )
    steps = max(FEWEST, min(MOST, config.steps // 4))
    low, high = RANGE[config.optimizer]
    plain = config.model_copy(update={"compile": False, "ema": None, "schedule": "constant", "warmup": 0.0})
    devices = [runtime.device] if runtime.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        run = begin(task, train, plain, groups, runtime, "find-lr", {})
        before = _copied(task)
        run.progress.micro_batch = config.micro_batch
        fit_momenta(run)
        batches = train.stream(0, steps, runtime.rank, runtime.world)
        rates, losses, broke = [], [], False
        try:
            with StopSignals() as signals:
                for step, batch in enumerate(batches):
                    rate = low * (high / low) ** (step / (steps - 1))
                    loss = _loss_of_step(run, batch, rate)
                    if broke := not math.isfinite(loss):
                        break
                    rates.append(rate)
                    losses.append(loss)
                    if received := runtime.maximum(signals.received):
                        raise stop_error(received, 0, config.steps)
                    if broke := broken(smooth(losses, steps)):
                        break
        finally:
            end(run, batches)
            _put_back(task, before)
    smoothed = smooth(losses, steps)
    skipped = len(losses) // 10
    return Search(
        rates=rates,
        losses=losses,
        smoothed=smoothed,
        valley=valley(rates[skipped:], smoothed[skipped:]),
        steepest=steepest(rates[skipped:], smoothed[skipped:]),
        broke=broke,
    )


def smooth(losses: Sequence[float], steps: int) -> list[float]:
    """Moving average over about a tenth of a search's ``steps``, unbiased at its beginning."""
    decay = 1 - 1 / max(1.0, steps / 10)
    average, made = 0.0, []
    for number, loss in enumerate(losses, start=1):
        average = decay * average + (1 - decay) * loss
        made.append(average / (1 - decay**number))
    return made


def broken(smoothed: Sequence[float]) -> bool:
    """Whether the loss has left: above where it began, and four times the lowest (of a negative one: as far above)."""
    lowest = min(smoothed)
    return smoothed[-1] > max(smoothed[0], lowest + (BROKEN - 1) * abs(lowest))


def valley(rates: Sequence[float], smoothed: Sequence[float]) -> float | None:
    """The middle of the longest valley, as fastai suggests a learning rate: the longest falling subsequence of the loss
    is found, and as many points back from its end as it has, half of them are gone. None where it has fewer than a
    tenth of the points, or three."""
    longest = [1] * len(smoothed)
    for i, loss in enumerate(smoothed):
        longest[i] += max((longest[j] for j in range(i) if loss < smoothed[j]), default=0)
    length = max(longest, default=0)
    if length < max(3, len(smoothed) / 10):
        return None
    last = longest.index(length)
    return rounded(rates[last - (length - 1) // 2])


def steepest(rates: Sequence[float], smoothed: Sequence[float]) -> float | None:
    """Where the loss falls fastest over the logarithm of the rate, before its minimum."""
    lowest = min(range(len(smoothed)), key=smoothed.__getitem__, default=0)
    falls = [(smoothed[i + 1] - smoothed[i - 1], i) for i in range(1, lowest)]
    slope, place = min(falls, default=(0.0, 0))
    return rounded(rates[place]) if slope < 0 else None


def rounded(rate: float) -> float:
    """Two digits: a search knows no more."""
    return float(f"{rate:.1e}")


def _loss_of_step(run: Run, batch: Any, rate: float) -> float:
    """A training step at a rate; of the phases' mean losses the sum."""
    run.config = run.config.model_copy(update={"lr": rate})
    train_step(run, batch)
    values = run.meter.read()
    names = [f"{phase}/loss" for phase in run.optimizers] if len(run.optimizers) > 1 else ["loss"]
    return sum(values[name] for name in names)


def _state(task: nn.Module) -> list[Tensor]:
    """All that training moves: buffers that no checkpoint holds as well."""
    return [*task.parameters(), *task.buffers()]


def _copied(task: nn.Module) -> list[Tensor]:
    """In the memory of the host, where there is more of it."""
    return [tensor.detach().to("cpu", copy=True) for tensor in _state(task)]


@torch.no_grad()
def _put_back(task: nn.Module, before: Sequence[Tensor]) -> None:
    for tensor, kept in zip(_state(task), before, strict=True):
        tensor.copy_(kept)
