"""Everything a run holds, put together before the loop and taken apart after it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from zoo.engine import batchnorm
from zoo.engine.config import EngineConfig
from zoo.engine.ema import Ema
from zoo.engine.flops import Utilisation
from zoo.engine.memory import Buffers
from zoo.engine.meter import FiniteGuard, Meter
from zoo.engine.optim import check_groups, make_optimizer
from zoo.engine.runtime import Runtime
from zoo.engine.saving import Progress, Trainee, identify
from zoo.protocols import Batch, Coupled, ParamGroup, TrainBatches
from zoo_registry.errors import PluginError, UsageError


@dataclass
class Run(Trainee):
    """What the loop works on.

    Attributes:
        model: the task as wrapped for several processes and compiled; it shares the task's weights.
        share: divisor of every loss sum, about the samples of one process in a step (see :mod:`zoo.engine.loop`).
        momenta: batch-normalisation layers with the momentum they came with.
        utilisation: floating-point operations, counted in the first step.
    """

    model: Any
    train: TrainBatches
    config: EngineConfig
    runtime: Runtime
    meter: Meter
    guard: FiniteGuard
    buffers: Buffers
    momenta: list[tuple[_BatchNorm, float | None]]
    share: int
    utilisation: Utilisation


def begin(
    task: Any,
    train: TrainBatches,
    config: EngineConfig,
    groups: Mapping[str, Sequence[ParamGroup]],
    runtime: Runtime,
    stage: str,
    identity: Mapping[str, str],
) -> Run:
    """Check what can be checked, and put the task where it trains.

    Raises:
        UsageError: options that do not fit the task or the device.
        PluginError: groups that do not cover the task's trainable parameters; a Coupled task of several phases.
    """
    runtime.check(config.precision)
    check_groups(task, groups)
    if task.batch_coupled:
        _check_coupled(task, config, runtime)
    if config.channels_last:
        task.to(memory_format=torch.channels_last)
    model = runtime.prepare(task, config.compile)
    parameters = dict(task.named_parameters())  # looked up only now: sharding replaces them
    half = config.precision == "fp16"
    samples = max(1.0, train.samples / train.steps_per_epoch / runtime.world)
    return Run(
        task=task,
        optimizers={
            phase: make_optimizer(config.optimizer, groups[phase], parameters, runtime.device, config.beta1)
            for phase in task.phases
        },
        scalers={phase: torch.amp.GradScaler(runtime.device.type, enabled=half) for phase in task.phases},
        ema=Ema(task, config.ema) if config.ema else None,
        progress=Progress(),
        stage=stage,
        identity=identify(config, groups, identity),
        model=model,
        train=train,
        config=config,
        runtime=runtime,
        meter=Meter(runtime),
        guard=FiniteGuard(runtime),
        buffers=Buffers(task),
        momenta=batchnorm.own_momenta(task),
        utilisation=Utilisation(runtime, config.precision, config.steps, config.compile),
        share=2 ** int(math.log2(samples)),  # a power of two, so that dividing by it rounds nothing
    )


def _check_coupled(task: Any, config: EngineConfig, runtime: Runtime) -> None:
    """Raises UsageError where a loss that couples samples would not be exact."""
    exact = isinstance(task, Coupled)
    if not exact and config.micro_batch:
        raise UsageError(
            "The loss couples the samples of a batch, so batches cannot be split.", "Leave --micro-batch out."
        )
    if exact and len(task.phases) > 1:
        raise PluginError("A loss that couples vectors has several phases.", "Give its task one phase.")
    if exact and runtime.sharded:
        raise UsageError(
            "The loss couples the samples of all processes, for which its parameters must not be spread over them.",
            "Use DDP instead of FSDP: accelerate launch --multi_gpu.",
        )


def end(run: Run, batches: Iterator[Batch]) -> None:
    """Leave the task as it was found but for its weights, however the loop ended."""
    for phase, optimizer in run.optimizers.items():
        optimizer.zero_grad(set_to_none=True)
        for parameter in phase_parameters(run, phase):
            parameter.requires_grad_(True)
    batchnorm.restore_momenta(run.momenta)
    run.task.eval()
    if hasattr(batches, "close"):
        batches.close()
    run.runtime.release()


def phase_parameters(run: Run, phase: str) -> list[nn.Parameter]:
    """The parameters that a phase trains."""
    return [parameter for group in run.optimizers[phase].param_groups for parameter in group["params"]]


def check_finite(run: Run) -> None:
    """Nothing is evaluated or saved before this has passed: no checkpoint ever holds NaN."""
    run.guard.check({phase: scaler.get_scale() for phase, scaler in run.scalers.items() if scaler.is_enabled()})


def fit_momenta(run: Run) -> None:
    """Momentum of batch normalisation for the length of the run and the number of micro-batches."""
    if run.config.batchnorm == "train":
        pieces = math.ceil(run.share / run.progress.micro_batch) if run.progress.micro_batch else 1
        batchnorm.fit_momenta(run.momenta, run.config.steps, run.train.steps_per_epoch, pieces)
