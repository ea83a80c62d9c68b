"""The training loop: one for every modality, objective and strategy.

Losses are sums with counts. A step takes this process's share of the batch in micro-batches, adds up the gradients of
``loss_sum / share``, adds up the counts over micro-batches and processes, and only then multiplies the gradient by
``world * share / count`` (DDP and FSDP average over ``world``). So it is the gradient of the mean over all targets of
the step, however they were cut up or spread out. ``share`` is a constant of about a process's samples per step: it
keeps the gradients of sums within the range of fp16, where the loss scale would otherwise have to fall first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from zoo.engine import batchnorm
from zoo.engine.checkpoint import Checkpoints, assign
from zoo.engine.config import EngineConfig
from zoo.engine.evaluate import evaluate
from zoo.engine.gradients import gradients
from zoo.engine.logger import Logger
from zoo.engine.optim import clip_gradients, step_optimizer
from zoo.engine.pictures import show_pictures
from zoo.engine.profile import profiled
from zoo.engine.run import Run, begin, check_finite, end, fit_momenta, phase_parameters
from zoo.engine.runtime import Runtime
from zoo.engine.saving import best_name, last_name, restore, save_best, save_last
from zoo.engine.schedule import lr_factor
from zoo.engine.signals import Stopped, StopSignals, stop_error
from zoo.protocols import Batch, EvalBatches, ParamGroup, TrainBatches
from zoo_registry.errors import UsageError, ZooError


@dataclass(frozen=True)
class FitResult:
    """What came of :func:`fit`.

    Attributes:
        metrics: of the best evaluation, ``loss`` included.
        best_step, steps: steps taken until then, and in all.
        history: one record per evaluation: step, epoch and the metrics.
        stopped_early: True where ``patience`` ended the run.
        samples_per_second: of training, over all processes, evaluations and checkpoints aside; 0 without a step.
    """

    metrics: dict[str, float]
    best_step: int
    steps: int
    history: list[dict[str, Any]]
    stopped_early: bool
    samples_per_second: float


def fit(
    task: Any,
    train: TrainBatches,
    val: EvalBatches,
    config: EngineConfig,
    groups: Mapping[str, Sequence[ParamGroup]],
    *,
    runtime: Runtime,
    checkpoints: Checkpoints,
    logger: Logger,
    resume: bool = False,
    stage: str = "main",
    identity: Mapping[str, str] | None = None,
) -> FitResult:
    """Train ``task`` in place; on return it holds the weights of the best evaluation, in evaluation mode.

    Args:
        groups: parameter groups of each of the task's phases (:func:`zoo.engine.optim.layerwise_groups`).
        resume: continue from the stage's ``last`` checkpoint, or start where there is none yet. A stage that had
            ended returns at once, with its best weights.
        stage: names the checkpoints of a run in several stages; ``main`` writes ``last`` and ``best``, others
            ``STAGE-last`` and ``STAGE-best``.
        identity: what a checkpoint must have been made with to be continued (data fingerprint, weights, ...).

    Raises:
        UsageError: options that do not fit together; a checkpoint of other data or settings.
        PluginError: parameter groups that do not cover the task.
        ZooError: NaN or infinite loss, not enough memory for one sample, a full disk. The last checkpoint stays.
        Interrupted, Terminated: SIGINT or SIGTERM came, and the state is saved.
    """
    saved = checkpoints.has(last_name(stage))
    if saved and not resume:
        raise UsageError(
            f"{checkpoints.folder} already holds checkpoints.",
            "Continue with --resume RUN, or choose another --output.",
        )
    run = begin(task, train, config, groups, runtime, stage, identity or {})
    if saved:
        restore(checkpoints, run)
        if runtime.is_main:
            checkpoints.tidy(last_name(stage))
            checkpoints.tidy(best_name(stage))
    progress = run.progress
    if config.micro_batch:
        progress.micro_batch = min(config.micro_batch, progress.micro_batch or config.micro_batch)
    fit_momenta(run)
    if runtime.is_main:
        logger.begin(stage, config.steps, progress.step, progress.evaluated)
    eval_every = config.eval_every or train.steps_per_epoch
    trace = profiled(logger.folder / "profile", runtime.device) if config.profile and runtime.is_main else None
    batches = train.stream(progress.step, config.steps, runtime.rank, runtime.world)
    with StopSignals() as signals, trace or nullcontext(lambda: None) as traced:
        try:
            while True:
                step = progress.step
                due = step == config.steps or (step % eval_every == 0 if step else config.eval_first)
                if evaluating := due and progress.evaluated < step:
                    evaluate_and_keep(run, val, checkpoints, logger, signals)
                over = step == config.steps or progress.stale >= (config.patience or math.inf)
                saving = step > 0 and step % config.save_every == 0 if config.save_every else evaluating
                if saving or (over and evaluating):
                    check_finite(run)
                    save_last(checkpoints, run, runtime)
                if over:
                    break
                if evaluating or saving:
                    run.meter.skip_time()
                train_step(run, next(batches))
                traced()
                if logging := progress.step % config.log_every == 0 or progress.step == config.steps:
                    check_finite(run)
                    log(run, logger)
                # With several accelerators, agreeing means waiting for them: done where the log waits anyway.
                listening = runtime.world == 1 or runtime.device.type == "cpu" or logging
                if listening and runtime.maximum(signals.received):
                    raise Stopped
        except Stopped:
            check_finite(run)
            save_last(checkpoints, run, runtime)
            raise stop_error(runtime.maximum(signals.received), progress.step, config.steps) from None
        finally:
            end(run, batches)
            if runtime.is_main:
                logger.end()
        if runtime.maximum(signals.received):  # it came during the last save
            raise stop_error(runtime.maximum(signals.received), progress.step, config.steps)
    if progress.best is None:
        raise ZooError(
            f"The metric {task.monitor[0]!r} was never finite.", "Lower --lr, or check the validation labels."
        )
    assign(task, checkpoints.load(best_name(stage))[0]["model"])
    return FitResult(
        metrics=progress.best,
        best_step=progress.best_step,
        steps=progress.step,
        history=progress.history,
        stopped_early=progress.step < config.steps,
        samples_per_second=run.meter.samples_per_second(),
    )


def train_step(run: Run, batch: Batch) -> None:
    """One step, top to bottom: every phase of the task in turn, on the same batch. Never waits for the device."""
    task, config, step = run.task, run.config, run.progress.step
    batchnorm.training_mode(task, config.batchnorm)
    factor = lr_factor(step, config.steps, config.warmup, config.schedule)
    for phase, optimizer in run.optimizers.items():
        for group in optimizer.param_groups:
            group["lr"] = config.lr * factor * group["lr_scale"]
        only_phase_trains(run, phase)
        loss_sum, count = gradients(run, phase, batch)
        total = run.runtime.sum(count)
        scaler = run.scalers[phase]
        scaler.unscale_(optimizer)  # this phase's alone: a GAN's other optimizer has a scale of its own
        # Without targets the gradient is 0 and stays so; 0 / 0 would end the run.
        scale = torch.where(total > 0, run.runtime.world * run.share / total, torch.zeros_like(total))
        norm = clip_gradients(phase_parameters(run, phase), scale, config.clip_norm)
        # fp16 gradients overflow now and then: the scaler skips that step and lowers its scale.
        run.guard.observe(step, loss_sum, *([] if scaler.is_enabled() else [norm]))
        step_optimizer(scaler, optimizer)
        prefix = f"{phase}/" if len(run.optimizers) > 1 else ""
        run.meter.add(f"{prefix}loss", loss_sum, count)
        run.meter.add(f"{prefix}grad_norm", norm, torch.ones_like(norm))
    run.runtime.average_(batchnorm.moving_statistics(task))
    run.progress.step += 1
    if run.ema:
        run.ema.update(run.progress.step)
    task.after_step(run.progress.step, config.steps)
    run.meter.stepped(len(batch["index"]) * run.runtime.world)


def only_phase_trains(run: Run, phase: str) -> None:
    """A phase's loss may flow through the others' parameters, but must leave no gradient in them."""
    if len(run.optimizers) > 1:
        for name in run.optimizers:
            for parameter in phase_parameters(run, name):
                parameter.requires_grad_(name == phase)


def evaluate_and_keep(
    run: Run, val: EvalBatches, checkpoints: Checkpoints, logger: Logger, signals: StopSignals
) -> None:
    """Evaluate (the moving average, where there is one), and save the weights where they are the best so far."""
    check_finite(run)
    progress, config = run.progress, run.config
    with run.ema.applied() if run.ema else nullcontext():
        metrics = evaluate(
            run.task,
            val,
            run.runtime,
            precision=config.precision,
            channels_last=config.channels_last,
            stop=lambda: signals.received,
        )
        if not math.isfinite(metrics["loss"]):
            raise ZooError(
                f"The validation loss is not finite after step {progress.step}.",
                "Lower --lr, use --precision fp32, or check the inputs for NaN; the last checkpoint is intact.",
            )
        if best := better(metrics, progress.best, run.task.monitor):
            save_best(checkpoints, run, metrics, run.runtime)
            progress.best, progress.best_step = metrics, progress.step
    progress.evaluated = progress.step
    progress.stale = 0 if best else progress.stale + 1
    epoch = progress.step / run.train.steps_per_epoch
    progress.history.append({"step": progress.step, "epoch": epoch, **metrics})
    if run.runtime.is_main:
        logger.evaluation(progress.step, metrics, best)
        show_pictures(run, val, logger)


def better(metrics: dict[str, float], best: dict[str, float] | None, monitor: tuple[str, str]) -> bool:
    """Whether the monitored metric rose (or fell); equal ones are decided by the lower loss. NaN is never better."""
    name, direction = monitor
    if name not in metrics:
        raise ZooError(
            f"The task watches {name!r}, but its metrics are {', '.join(sorted(metrics))}.",
            "Its monitor must name one of them.",
        )
    sign = 1.0 if direction == "max" else -1.0
    if math.isnan(metrics[name]):
        return False
    return best is None or (sign * metrics[name], -metrics["loss"]) > (sign * best[name], -best["loss"])


def log(run: Run, logger: Logger) -> None:
    """Losses, gradient norm and speed since the last time, read from the device here and only here."""
    values = run.meter.read()
    values |= run.utilisation.read(values["samples_per_second"])
    rate = max(group["lr"] for optimizer in run.optimizers.values() for group in optimizer.param_groups)
    if run.runtime.is_main:
        epoch = run.progress.step / run.train.steps_per_epoch
        logger.train(run.progress.step, {**values, "lr": rate, "epoch": epoch})
