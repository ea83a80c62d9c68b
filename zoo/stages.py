"""Running the stages a strategy planned, each on the engine's one loop."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from zoo.config import FinetuneConfig, RunConfig
from zoo.console import say
from zoo.data.batches import Eval, Mix
from zoo.data.batches import Train as TrainBatches
from zoo.engine.checkpoint import Checkpoints
from zoo.engine.config import EngineConfig
from zoo.engine.evaluate import collect
from zoo.engine.logger import Logger
from zoo.engine.loop import FitResult, fit
from zoo.engine.optim import layerwise_groups
from zoo.engine.runtime import Runtime
from zoo.features import ArrayStore, FeaturePipeline, compute_features, state_hash
from zoo.headgrid import HeadGrid
from zoo.launch import batch_tokens
from zoo.prepared import Prepared
from zoo.protocols import Batch, Draws, ParamGroup, Pipeline
from zoo.run import Run
from zoo.strategies import Probe, Stage, Train
from zoo.wise_ft import keep_start, mix_with_start

EVALUATIONS_OF_A_GRID = 10
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
    pipeline = FeaturePipeline(field, arrays["train"].shape[1:])
    labels = context.data.labels
    train = TrainBatches(
        ArrayStore(arrays["train"]), labels["train"], pipeline, batch_size=stage.batch_size, seed=config.seed
    )
    val = Eval(ArrayStore(arrays["val"]), labels["val"], pipeline, batch_size=1024)
    grid = HeadGrid(task.head, stage.grid)
    steps = _steps(stage.epochs, train.steps_per_epoch)
    engine = EngineConfig(
        steps=steps,
        lr=1.0,  # each head's own learning rate is its group's scale
        warmup=config.warmup,
        schedule=config.schedule,
        clip_norm=None,  # one norm over all heads would couple them
        eval_every=max(1, steps // EVALUATIONS_OF_A_GRID),
        log_every=config.log_every,
        seed=config.seed,
        channels_last=False,
    )
    result = _fit(stage.name, grid, train, val, engine, grid.param_groups(), context)
    best, logits = _best_head(grid, val, runtime)
    task.head.load_state_dict(grid.heads[best].state_dict())
    lr, weight_decay = stage.grid[best]
    metric = grid.monitor[0]
    chosen = f"learning rate {lr:g}, weight decay {weight_decay:g}"
    say(f"head: {metric} {result.metrics[metric]:.4f}, the best of {len(stage.grid)} ({chosen})")
    if runtime.is_main:
        checkpoints.save(SELECTED, {"model": task.head.state_dict()}, {"stage": stage.name})
        if alone:  # what "RUN/checkpoints/best" means should not depend on the strategy
            checkpoints.save("best", {"model": task.state_dict()}, {"stage": stage.name, "metrics": result.metrics})
    runtime.barrier()
    return logits


def _best_head(grid: HeadGrid, val: Eval, runtime: Runtime) -> tuple[int, torch.Tensor]:
    """The head that validation prefers and its logits, gathered, so that every process picks the same."""
    logits, index = collect(grid, val, runtime)
    metrics = grid.metrics().to(torch.device("cpu"))
    metrics.reset()
    grid.to("cpu")
    metrics.update(logits, {"label": torch.as_tensor(val.labels)[index]})
    best = int(metrics.compute()["best_head"])
    return best, logits[:, best]


def train_groups(stage: Train, context: Context) -> list[ParamGroup]:
    """Parameter groups of end-to-end training."""
    return layerwise_groups(
        context.task.layer_groups(), weight_decay=context.config.weight_decay, layer_decay=stage.layer_decay
    )


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
    return _fit(stage.name, task, train, val, engine, train_groups(stage, context), context)


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
    groups: list[ParamGroup],
    context: Context,
) -> FitResult:
    return fit(
        task,
        train,
        val,
        engine,
        {"main": groups},
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
    """A pipeline whose training transform is its evaluation transform."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline

    def __getattr__(self, name: str) -> Any:
        return getattr(self.pipeline, name)

    def augment(self, batch: Batch, draws: Draws) -> Batch:
        return self.pipeline.prepare(batch)
