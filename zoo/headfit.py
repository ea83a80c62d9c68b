"""Heads trained side by side on features at hand: what the head stage of a finetune and a linear probe share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoo.config import RunConfig
from zoo.data.batches import Eval, Labels, Train
from zoo.engine.checkpoint import Checkpoints
from zoo.engine.config import EngineConfig
from zoo.engine.evaluate import collect
from zoo.engine.logger import Logger
from zoo.engine.loop import fit
from zoo.engine.runtime import Runtime
from zoo.features import ArrayStore, FeaturePipeline
from zoo.headgrid import HeadGrid
from zoo.strategies import Probe

EVALUATIONS_OF_A_GRID = 10


@dataclass(frozen=True)
class Chosen:
    """The head of a grid that validation preferred.

    Attributes:
        head: the module, on the CPU.
        lr, weight_decay: it was trained with.
        metrics: of the grid's best evaluation, on the validation features.
        logits: (n, ...) of the validation features, in their order.
    """

    head: Any
    lr: float
    weight_decay: float
    metrics: dict[str, float]
    logits: torch.Tensor


def fit_heads(
    head: Any,
    stage: Probe,
    features: Mapping[str, np.ndarray],
    labels: Mapping[str, Labels],
    config: RunConfig,
    *,
    runtime: Runtime,
    folder: Path,
    resume: bool = False,
    identity: Mapping[str, str] | None = None,
    evaluations: int = EVALUATIONS_OF_A_GRID,
    quiet: bool = False,
) -> Chosen:
    """Train a grid of copies of ``head`` on the features of ``train``; every process picks the same one by ``val``.

    Args:
        features: ``train`` and ``val``: (n, ...) float32, the one field of Features that the head uses.
        labels: of both, one a row.
        config: gives warm-up, schedule and seed.
        folder: of checkpoints and logs.
        evaluations: on ``val``, evenly over the training; with 1 the heads are kept as the last step leaves them.
        quiet: only files are written.
    """
    (field,) = head.uses
    pipeline = FeaturePipeline(field, features["train"].shape[1:])
    train = Train(
        ArrayStore(features["train"]), labels["train"], pipeline, batch_size=stage.batch_size, seed=config.seed
    )
    val = Eval(ArrayStore(features["val"]), labels["val"], pipeline, batch_size=1024)
    grid = HeadGrid(head, stage.grid)
    steps = max(1, round(stage.epochs * train.steps_per_epoch))
    engine = EngineConfig(
        steps=steps,
        lr=1.0,  # each head's own learning rate is its group's scale
        warmup=config.warmup,
        schedule=config.schedule,
        clip_norm=None,  # one norm over all heads would couple them
        eval_every=max(1, steps // evaluations),
        log_every=config.log_every,
        seed=config.seed,
        channels_last=False,
    )
    result = fit(
        grid,
        train,
        val,
        engine,
        {"main": grid.param_groups()},
        runtime=runtime,
        checkpoints=Checkpoints(folder / "checkpoints"),
        logger=Logger(folder, quiet=quiet),
        resume=resume,
        stage=stage.name,
        identity=identity,
    )
    best, logits = _best_head(grid, val, runtime)
    return Chosen(grid.heads[best], *stage.grid[best], metrics=result.metrics, logits=logits)


def _best_head(grid: HeadGrid, val: Eval, runtime: Runtime) -> tuple[int, torch.Tensor]:
    """The head that validation prefers and its logits, gathered, so that every process picks the same."""
    logits, index = collect(grid, val, runtime)
    metrics = grid.metrics().to(torch.device("cpu"))
    metrics.reset()
    grid.to("cpu")
    metrics.update(logits, {"label": torch.as_tensor(val.labels)[index]})
    best = int(metrics.compute()["best_head"])
    return best, logits[:, best]
