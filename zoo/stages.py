"""Running the stages a strategy planned, each on the engine's one loop."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from zoo.config import FinetuneConfig, RunConfig
from zoo.console import say
from zoo.data.batches import Eval, Mix
from zoo.data.batches import Train as TrainBatches
from zoo.engine.checkpoint import Checkpoints
from zoo.engine.config import EngineConfig
from zoo.engine.logger import Logger
from zoo.engine.loop import FitResult, fit
from zoo.engine.optim import layerwise_groups
from zoo.engine.runtime import Runtime
from zoo.features import compute_features, state_hash
from zoo.headfit import fit_heads
from zoo.launch import batch_tokens
from zoo.lr_finder import with_found_lr
from zoo.objectives import View
from zoo.prepared import Prepared
from zoo.protocols import Batch, Draws, ParamGroup, Pipeline
from zoo.run import Run
from zoo.strategies import Probe, Stage, Train
from zoo.wise_ft import keep_start, mix_with_start

SELECTED = "head-selected"  # checkpoint of the head that validation preferred


@dataclass(frozen=True)
class Context:
    """What every stage works with."""

    run: Run
    config: RunConfig
    task: Any
    data: Prepared
    runtime: Runtime
    resume: bool

    @property
    def identity(self) -> dict[str, str]:
        """What must not change between the parts of a resumed run."""
        text = json.dumps(self.config.model_dump(), sort_keys=True)
        return {
            "config": hashlib.sha256(text.encode()).hexdigest(),
            "data": self.data.dataset.fingerprint,
        }


def run_stage(stage: Stage, context: Context, after: Sequence[Stage]) -> torch.Tensor | None:
    """Run a stage, or what is left of it; the context's task holds its weights afterwards.

    Returns:
        their logits on the validation split, (n, ...) in store order, where the stage has them at hand.
    """
    if isinstance(stage, Probe):
        return _probe(stage, context, alone=not after)
    share = context.config.wise_ft if isinstance(context.config, FinetuneConfig) else None
    if share is not None:
        keep_start(context)
    result = train_all(stage, context, head_ready=stage.ready)
    before = "the head alone" if any(isinstance(earlier, Probe) for earlier in after) else "the start"
    if stage.ready and not after:
        metric = context.task.monitor[0]
        say(f"main: {metric} {result.history[0][metric]:.4f} before the first step")
    if result.best_step == 0:
        say(f"main: training everything did not improve on {before}, whose weights are kept")
    else:
        say(f"main: the weights after step {result.best_step} of {result.steps} are kept")
    if share is not None:
        mix_with_start(share, _validation(stage, context), context)
    return None


def _probe(stage: Probe, context: Context, alone: bool) -> torch.Tensor | None:
    config, task, runtime = context.config, context.task, context.runtime
    checkpoints = Checkpoints(context.run.path / "checkpoints")
    if context.resume and checkpoints.has(SELECTED):
        files, _ = checkpoints.load(SELECTED)
        task.head.load_state_dict(files["model"])
        say("head: already trained")
        return None
    (field,) = task.head.uses
    task.to(runtime.device).eval()
    if config.channels_last:
        task.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    weights = state_hash(task.backbone.module)
    arrays = {
        split: compute_features(task.backbone, weights, context.data, split, field, runtime, config.precision or "fp32")
        for split in ("train", "val")
    }
    chosen = fit_heads(
        task.head,
        stage,
        arrays,
        context.data.labels,
        config,
        runtime=runtime,
        folder=context.run.path,
        resume=context.resume,
        identity=context.identity,
    )
    task.head.load_state_dict(chosen.head.state_dict())
    metric = task.head.monitor[0]
    told = f"learning rate {chosen.lr:g}, weight decay {chosen.weight_decay:g}"
    say(f"head: {metric} {chosen.metrics[metric]:.4f}, the best of {len(stage.grid)} ({told})")
    if runtime.is_main:
        checkpoints.save(SELECTED, {"model": task.head.state_dict()}, {"stage": stage.name})
        if alone:  # what "RUN/checkpoints/best" means should not depend on the strategy
            checkpoints.save("best", {"model": task.state_dict()}, {"stage": stage.name, "metrics": chosen.metrics})
    runtime.barrier()
    return chosen.logits


def train_groups(stage: Train, context: Context) -> dict[str, list[ParamGroup]]:
    """Parameter groups of end-to-end training, by phase."""
    return {
        phase: layerwise_groups(
            context.task.layer_groups(phase),
            weight_decay=context.config.weight_decay,
            layer_decay=stage.layer_decay,
        )
        for phase in context.task.phases
    }


def train_all(stage: Train, context: Context, head_ready: bool = False) -> FitResult:
    """Train the whole task; it holds the best weights afterwards.

    Args:
        head_ready: whether the weights it starts from are worth an evaluation.
    """
    config, task, data = context.config, context.task, context.data
    pipeline = data.pipeline if config.augment else Unvaried(data.pipeline)
    tokens = batch_tokens(config, data.pipeline)
    store, labels = data.training
    train = TrainBatches(
        store,
        labels,
        pipeline,
        batch_size=stage.batch_size,
        batch_tokens=tokens,
        seed=config.seed,
        mix=_mix(context),
    )
    val = _validation(stage, context)
    engine = EngineConfig(
        steps=_steps(stage.epochs, train.steps_per_epoch),
        lr=stage.lr,
        warmup=config.warmup,
        schedule=config.schedule,
        optimizer=config.optimizer,
        beta1=config.beta1,
        clip_norm=config.clip_norm,
        precision=config.precision or "fp32",
        micro_batch=config.micro_batch,
        ema=config.ema,
        eval_every=train.steps_per_epoch,
        eval_first=head_ready,
        save_every=config.save_every,
        log_every=config.log_every,
        patience=config.patience,
        seed=config.seed,
        compile=config.compile,
        channels_last=config.channels_last,
        batchnorm=stage.batchnorm,
        profile=config.profile,
    )
    groups = train_groups(stage, context)
    if config.find_lr:
        context, engine = with_found_lr(context, train, engine, groups)
    return _fit(stage.name, task, train, val, engine, groups, context)


def _validation(stage: Train, context: Context) -> Eval:
    data = context.data
    return Eval(
        data.stores["val"],
        data.labels["val"],
        data.pipeline,
        batch_size=stage.batch_size,
        batch_tokens=batch_tokens(context.config, data.pipeline),
    )


def _mix(context: Context) -> Mix | None:
    config = context.config
    if not isinstance(config, FinetuneConfig) or not (config.mixup or config.cutmix):
        return None
    return Mix(config.mixup, config.cutmix, len(context.data.dataset.labels))


def _fit(
    name: str,
    task: Any,
    train: TrainBatches,
    val: Eval,
    engine: EngineConfig,
    groups: Mapping[str, list[ParamGroup]],
    context: Context,
) -> FitResult:
    return fit(
        task,
        train,
        val,
        engine,
        groups,
        runtime=context.runtime,
        checkpoints=Checkpoints(context.run.path / "checkpoints"),
        logger=Logger(context.run.path),
        resume=context.resume,
        stage=name,
        identity=context.identity,
    )


def _steps(epochs: float, steps_per_epoch: int) -> int:
    return max(1, round(epochs * steps_per_epoch))


class Unvaried:
    """A pipeline whose training transform is its evaluation transform; an objective's still corrupts and masks."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    def __getattr__(self, name: str) -> Any:
        return getattr(self.pipeline, name)

    def augment(self, batch: Batch, draws: Draws) -> Batch:
        if isinstance(self.pipeline, View):
            return self.pipeline.unvaried(batch, draws)
        return self.pipeline.prepare(batch)
