"""What a training run is asked for: typed, unknown keys rejected, every "auto" (None) resolved before training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from zoo_registry.errors import UsageError


class RunConfig(BaseModel):
    """What every training run is asked for. ``None`` means "choose for me"; the choice is printed and written into the
    run folder.

    Field descriptions are the help texts of the command line.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(description="model name (see zoo list), or a run folder to start from")
    data: str = Field(description="folder, table, hf:org/name or registered data-set name")
    weights: str | None = Field(None, description="tag, file, or 'none' for random numbers")
    tokenizer: str | None = Field(
        None, description="folder, file or run with a tokenizer.json, for a text model that starts from random numbers"
    )

    input_column: str | None = Field(None, description="table column holding the inputs")
    split_column: str | None = Field(None, description="table column holding the split names")
    val_fraction: float = Field(0.2, gt=0, lt=1, description="share cut for validation where the data has none")
    sample: bool = Field(True, description="accept the built-in sample where the real data is out of reach")
    cache_limit: str | None = Field(None, description="largest decoded cache on disk, such as 20GB")
    max_bad: float = Field(0.05, ge=0, le=1, description="share of unreadable inputs that stops the run")

    size: int | None = Field(None, ge=16, description="input size in pixels (images)")
    max_length: int | None = Field(None, ge=4, description="longest input in tokens (texts); longer ones are cut")
    seconds: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="longest stretch of sound at once: random crops in training, averaged windows elsewhere (0: whole "
        "recordings)",
    )
    augment: bool = Field(True, description="vary the training inputs")

    epochs: float | None = Field(None, gt=0, description="passes over the training data")
    batch_size: int | None = Field(None, ge=1, description="samples per optimizer step, over all devices")
    batch_tokens: int | None = Field(
        None, ge=1, description="tokens per optimizer step, padding included, instead of --batch-size (texts)"
    )
    batch_seconds: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="seconds per optimizer step, padding included, instead of --batch-size (audio)",
    )
    micro_batch: int | None = Field(
        None, ge=1, description="samples on a device at once; halves itself when memory runs out"
    )
    lr: float | None = Field(None, gt=0, description="peak learning rate")
    find_lr: bool = Field(False, description="search the learning rate before training, instead of --lr")
    layer_decay: float | None = Field(
        None, gt=0, le=1, description="learning-rate factor from one layer group to the one before"
    )
    weight_decay: float = Field(0.05, ge=0, description="decoupled weight decay (never on 1-D parameters)")
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps that warm up")
    schedule: Literal["cosine", "linear", "constant"] = Field("cosine", description="learning-rate schedule")
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="optimizer")
    beta1: float = Field(0.9, ge=0, lt=1, description="AdamW's decay of the gradient's average; SGD's momentum")
    clip_norm: float | None = Field(1.0, gt=0, description="gradient norm limit")
    batchnorm: Literal["frozen", "train"] | None = Field(None, description="BatchNorm statistics: kept or trained")
    ema: float | None = Field(None, gt=0, lt=1, description="decay of an averaged copy of the weights")
    patience: int | None = Field(None, ge=1, description="evaluations without improvement before stopping")

    seed: int = Field(0, ge=0, description="seed of everything random")
    device: str | None = Field(None, description="cuda, mps or cpu")
    precision: Literal["fp32", "bf16", "fp16"] | None = Field(None, description="arithmetic of the forward pass")
    channels_last: bool = Field(True, description="NHWC memory layout for image networks")
    compile: bool = Field(False, description="torch.compile the network")
    save_every: int | None = Field(None, ge=1, description="steps between checkpoints; by default each evaluation")
    log_every: int = Field(10, ge=1, description="steps between log lines")
    profile: bool = Field(False, description="write a torch profiler trace of a few steps")


class FinetuneConfig(RunConfig):
    """A finetuning run."""

    strategy: str | None = Field(None, description="head, full or lp-ft (the head first, then everything gently)")
    head: str | None = Field(None, description="head name; follows from the task")
    task: str | None = Field(
        None,
        description="classification, multi-label, regression, token-classification, question-answering, embedding, "
        "generation, transcription, frame-classification or speaker-verification; follows from the data",
    )
    pair_column: str | None = Field(None, description="table column holding the second text of pairs")
    label_column: str | None = Field(None, description="table column holding the labels (several: comma between)")
    units: str | None = Field(
        None,
        coerce_numbers_to_str=True,
        description="what transcripts are spelled in: characters, or a number of pieces of words (BPE), such as 500",
    )
    mixup: float = Field(0.0, ge=0, description="mixup strength (0: off; images)")
    cutmix: float = Field(0.0, ge=0, description="cutmix strength (0: off; images)")
    wise_ft: float | None = Field(
        None,
        ge=0,
        le=1,
        description="WiSE-FT: keep this share of the finetuned weights, the rest of those that training began with",
    )
    head_epochs: float | None = Field(None, gt=0, description="passes of the head grid over the cached features")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="label smoothing of the classification loss")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the head")


class PretrainConfig(RunConfig):
    """A pretraining run."""

    objective: str | None = Field(None, description="what to learn from: see zoo pretrain --list")
    pair_column: str | None = Field(
        None, description="table column holding the second side of pairs, such as the captions of images"
    )
    val_fraction: float = Field(0.05, gt=0, le=0.5, description="share cut for validation where the data has none")
    options: dict[str, Any] = Field(default_factory=dict, description="settings of the objective")


Config = TypeVar("Config", bound=RunConfig)


def read_config(path: Path) -> dict[str, Any]:
    """A YAML file of configuration keys.

    Raises:
        UsageError: the file is missing or no mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"The config file {path} cannot be read: {error.strerror}.", "Check the path.") from error
    except yaml.YAMLError as error:
        raise UsageError(
            f"{path} is no valid YAML: {error}.", "Fix the file, or start from a run's config.yaml."
        ) from error
    if not isinstance(values, dict):
        raise UsageError(f"{path} holds no keys and values.", "Start from the config.yaml of a run folder.")
    return values


def make_config(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """Validate.

    Raises:
        UsageError: naming each unknown key and each value out of range.
    """
    try:
        made = kind(**values)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg'].lower()}" for e in error.errors())
        verb = "pretrain" if kind is PretrainConfig else "finetune"
        raise UsageError(f"The configuration is not valid: {faults}.", f"Run: zoo {verb} --help") from error
    if made.find_lr and made.lr is not None:
        raise UsageError("--find-lr searches the learning rate, and --lr gives one.", "Leave one of them out.")
    return made
