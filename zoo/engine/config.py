"""What the loop needs to know, typed and closed: an unknown key is an error, a wrong value says which."""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

# Fields that change how a run is watched or cut up, never what it computes: free to differ on resume.
FREE_ON_RESUME = {"micro_batch", "save_every", "log_every", "profile"}


class EngineConfig(BaseModel):
    """Settings of one call of :func:`zoo.engine.loop.fit`.

    Attributes:
        steps: optimizer steps to take.
        lr: peak learning rate; a parameter group trains at ``lr * lr_scale``.
        weight_decay: decoupled weight decay that recipes build their groups with.
        warmup: fraction of the steps over which the learning rate rises linearly from 0.
        schedule: shape of the learning rate after the warm-up; cosine and linear fall to 1 % of ``lr``.
        optimizer: ``adamw`` (second beta 0.999) or ``sgd`` (Nesterov).
        beta1: AdamW's decay of the gradient's average; SGD's momentum.
        clip_norm: largest norm of the gradient of all parameters of a phase, or None for no clipping.
        precision: ``fp32``, ``bf16`` or ``fp16`` (autocast; ``fp16`` needs CUDA).
        micro_batch: samples a device computes at a time, or None for its whole share of the batch. Halved by the
            engine where memory runs out; results do not depend on it, up to rounding and batch statistics.
        ema: decay of the moving average of the weights that is evaluated and kept, or None.
        eval_every: steps between evaluations, or None for once an epoch. The last step is always evaluated.
        eval_first: evaluate before the first step too, so that training never ends below where it began.
        save_every: steps between ``last`` checkpoints, or None for one after each evaluation.
        log_every: steps between readings of the losses; the device is waited for only there.
        patience: evaluations without improvement after which training stops, or None.
        seed: of everything random in a step.
        compile: run the task through ``torch.compile``.
        channels_last: 4-D weights and inputs in channels-last memory order.
        batchnorm: ``train`` (momentum fitted to the length of the run) or ``frozen`` (the given statistics are used
            and kept; the affine parameters still train).
        profile: trace a few steps with the torch profiler into ``profile/`` of the run folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(ge=1)
    lr: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(default=0.05, ge=0, allow_inf_nan=False)
    warmup: float = Field(default=0.1, ge=0, le=1)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    optimizer: Literal["adamw", "sgd"] = "adamw"
    beta1: float = 0.9
    clip_norm: float | None = Field(default=1.0, gt=0)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    micro_batch: int | None = Field(default=None, ge=1)
    ema: float | None = Field(default=None, gt=0, lt=1)
    eval_every: int | None = Field(default=None, ge=1)
    eval_first: bool = False
    save_every: int | None = Field(default=None, ge=1)
    log_every: int = Field(default=10, ge=1)
    patience: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)
    compile: bool = False
    channels_last: bool = False
    batchnorm: Literal["train", "frozen"] = "train"
    profile: bool = False

    def fingerprint(self) -> str:
        """Hash of the settings that decide the result: a checkpoint continues only under the same ones."""
        values = self.model_dump(exclude=FREE_ON_RESUME)
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
