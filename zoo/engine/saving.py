"""What is in a checkpoint of a run, so that a continued run equals one that never stopped."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from zoo.engine.checkpoint import Checkpoints, assign, full_tensors, like
from zoo.engine.config import EngineConfig
from zoo.engine.ema import Ema
from zoo.engine.optim import optimizer_tensors, restore_optimizer
from zoo.engine.runtime import Runtime
from zoo.protocols import ParamGroup
from zoo_registry.errors import UsageError, ZooError


@dataclass
class Progress:
    """How far a run is. Saved as JSON.

    Attributes:
        step: optimizer steps taken.
        evaluated: step of the last finished evaluation, -1 before the first.
        best, best_step: metrics and step of the best evaluation.
        stale: evaluations since then.
        micro_batch: samples at a time, where asked for or found by running out of memory.
        history: one record per evaluation: step, epoch, train_loss, lr and the metrics.
    """

    step: int = 0
    evaluated: int = -1
    best: dict[str, float] | None = None
    best_step: int = 0
    stale: int = 0
    micro_batch: int | None = None
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Trainee:
    """Everything of a run that a checkpoint holds."""

    task: Any
    optimizers: dict[str, torch.optim.Optimizer]
    scalers: dict[str, torch.amp.GradScaler]
    ema: Ema | None
    progress: Progress
    stage: str
    identity: dict[str, str]


def last_name(stage: str) -> str:
    """Where a stage continues from."""
    return "last" if stage == "main" else f"{stage}-last"


def best_name(stage: str) -> str:
    """Where the best weights of a stage are."""
    return "best" if stage == "main" else f"{stage}-best"


def identify(
    config: EngineConfig, groups: Mapping[str, Sequence[ParamGroup]], identity: Mapping[str, str]
) -> dict[str, str]:
    """What a checkpoint must share with the run that continues it: the caller's ``identity`` (data fingerprint,
    weights, ...), the settings and the parameter groups."""
    table = [
        (phase, group.lr_scale, group.weight_decay, [name for name, _ in group.params])
        for phase, members in groups.items()
        for group in members
    ]
    return {
        **identity,
        "settings": config.fingerprint(),
        "parameter groups": hashlib.sha256(repr(table).encode()).hexdigest()[:16],
    }


def save_last(checkpoints: Checkpoints, trainee: Trainee, runtime: Runtime) -> None:
    """Save all that continuing needs. Collective; the main process writes."""
    tensors = {
        "model": full_tensors(trainee.task.state_dict()),
        "optimizer": full_tensors(
            {
                f"{phase}/{key}": value
                for phase, optimizer in trainee.optimizers.items()
                for key, value in optimizer_tensors(optimizer).items()
            }
        ),
        "ema": full_tensors(trainee.ema.average if trainee.ema else {}),
    }
    if runtime.is_main:
        state = {
            **_labels(trainee),
            "progress": asdict(trainee.progress),
            "scalers": {phase: scaler.state_dict() for phase, scaler in trainee.scalers.items()},
        }
        checkpoints.save(last_name(trainee.stage), tensors, state)
    runtime.barrier()


def save_best(checkpoints: Checkpoints, trainee: Trainee, metrics: Mapping[str, float], runtime: Runtime) -> None:
    """Save the weights the task holds now, and their metrics. Collective; the main process writes."""
    tensors = {"model": full_tensors(trainee.task.state_dict())}
    if runtime.is_main:
        state = {**_labels(trainee), "step": trainee.progress.step, "metrics": dict(metrics)}
        checkpoints.save(best_name(trainee.stage), tensors, state)
    runtime.barrier()


def restore(checkpoints: Checkpoints, trainee: Trainee) -> None:
    """Put ``last`` back into the task, its optimizers, scalers, average and progress.

    Raises:
        UsageError: the checkpoint was made with other data, settings or parameters.
        ZooError: it is damaged, or does not fit the task.
    """
    tensors, state = checkpoints.load(last_name(trainee.stage))
    saved = state.get("identity", {})
    differing = [key for key in {**saved, **trainee.identity} if saved.get(key) != trainee.identity.get(key)]
    if differing:
        raise UsageError(
            f"The checkpoint in {checkpoints.folder} was made with other {' and '.join(sorted(differing))}.",
            "Continue with what the run was started with, or start a new run in another folder.",
        )
    try:
        assign(trainee.task, tensors["model"])
        for phase, optimizer in trainee.optimizers.items():
            parameters = {
                name: parameter
                for group in optimizer.param_groups
                for name, parameter in zip(group["names"], group["params"], strict=True)
            }
            mine = {}
            for path, tensor in tensors["optimizer"].items():
                owner, key = path.split("/", 1)
                if owner == phase:
                    parameter = parameters[key.rsplit("/", 1)[0]]
                    mine[key] = like(tensor, parameter) if tensor.shape == parameter.shape else tensor
            restore_optimizer(optimizer, mine)
        if trainee.ema:
            with torch.no_grad():
                for name, average in trainee.ema.average.items():
                    average.copy_(like(tensors["ema"][name], average))
        for phase, scaler in trainee.scalers.items():
            if scaler.is_enabled():
                scaler.load_state_dict(state["scalers"][phase])
        trainee.progress = Progress(**state["progress"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise ZooError(
            f"The checkpoint in {checkpoints.folder} does not hold what this run needs: {error}.",
            "Continue with the version of zoo that wrote it, or start a new run in another folder.",
        ) from error


def _labels(trainee: Trainee) -> dict[str, Any]:
    versions = {"torch": torch.__version__, "python": platform.python_version()}
    return {"stage": trainee.stage, "identity": trainee.identity, "versions": versions}
