"""How to finetune, as data: a strategy is a function from the facts of a run to an ordered list of stages.

A new strategy is one more function in :data:`STRATEGIES`; the stages are run by :mod:`zoo.recipes`.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from zoo.config import FinetuneConfig
from zoo_registry.errors import UnknownName, UsageError

HEAD_GRID: tuple[tuple[float, float], ...] = tuple(
    (lr, weight_decay) for lr in (3e-4, 1e-3, 3e-3, 1e-2) for weight_decay in (1e-3, 1e-1)
)
"""(learning rate, weight decay) of the heads trained side by side: a factor of 3 apart, around what fits a linear layer
on features of unit scale."""


@dataclass(frozen=True)
class Facts:
    """What a strategy may decide by.

    Attributes:
        samples: of the training split.
        pretrained: whether there is something to keep.
        groups: layer groups of the task.
        probe: whether heads can be trained on cached features.
        modality: of the inputs.
        dim: embedding width.
        foreign: whether the pretrained weights were made for other inputs (pictures, and these are spectrograms).
        begun: whether the head begins with more than random numbers (:attr:`zoo_registry.specs.HeadSpec.start`).
    """

    samples: int
    pretrained: bool
    groups: int
    probe: bool = True
    modality: str = "image"
    dim: int = 0
    foreign: bool = False
    begun: bool = False


@dataclass(frozen=True)
class Probe:
    """Train a grid of heads on features of the frozen backbone, computed once; keep the best by validation."""

    epochs: float
    batch_size: int
    grid: tuple[tuple[float, float], ...] = HEAD_GRID
    name: str = "head"


@dataclass(frozen=True)
class Train:
    """Train backbone and head end to end. ``ready``: what it starts from is worth an evaluation, and may be kept."""

    epochs: float
    batch_size: int
    lr: float
    layer_decay: float
    batchnorm: Literal["frozen", "train"]
    ready: bool = False
    name: str = "main"


Stage = Probe | Train


def default_batch_size(samples: int, most: int = 64) -> int:
    """A power of two with at least about 20 steps an epoch on small data, between 8 and ``most``."""
    return min(most, max(8, 2 ** int(math.log2(max(samples / 20, 1)))))


def begun_lr(facts: Facts) -> float:
    """Learning rate where backbone and head fit each other from the start, and only have to stay close: 1e-5 for a
    space of 512 dimensions, as CLIP's ViT-B is finetuned (Wortsman et al., "Robust fine-tuning of zero-shot models",
    CVPR 2022, choose between 3e-6 and 3e-5), less for wider ones."""
    return text_lr(facts, 0.005)


def text_lr(facts: Facts, factor: float) -> float:
    """Learning rate for a language network: wider ones need smaller steps (Kaplan et al., "Scaling laws for neural
    language models", 2020), so 5e-5 for a network as wide as BERT-large stands for more in a small one."""
    return float(f"{factor / max(facts.dim, 1):.1e}")


def probe(samples: int, epochs: float | None = None, batch_size: int | None = None) -> Probe:
    """The head stage on that many training samples."""
    size = batch_size or min(256, 2 * default_batch_size(samples))
    # A linear head on cached features needs a few hundred steps; more data does not ask for more of them.
    steps_per_epoch = max(1, samples // size)
    auto = max(3.0, min(40.0, math.ceil(500 / steps_per_epoch)))
    return Probe(epochs=epochs or auto, batch_size=size)


def _train(config: FinetuneConfig, facts: Facts, *, epochs: float, lr: float, bottom: float) -> Train:
    """``bottom``: learning rate of the first layer group relative to the head's, whatever the depth."""
    layer_decay = bottom ** (1 / max(1, facts.groups - 1))
    return Train(
        epochs=config.epochs or epochs,
        batch_size=config.batch_size or default_batch_size(facts.samples, 64 if facts.modality == "image" else 32),
        lr=config.lr or lr,
        layer_decay=config.layer_decay or round(layer_decay, 4),
        # Statistics of a pretrained network are better than what a few small batches can estimate; a random network
        # has none to keep, and one made for other inputs has those of others.
        batchnorm=config.batchnorm or ("frozen" if facts.pretrained and not facts.foreign else "train"),
        ready=facts.begun,
    )


def head(config: FinetuneConfig, facts: Facts) -> tuple[Stage, ...]:
    """The backbone stays as it is; only a head is trained. Fast, and hard to beat on little data."""
    return (probe(facts.samples, config.head_epochs or config.epochs, config.batch_size),)


def full(config: FinetuneConfig, facts: Facts) -> tuple[Stage, ...]:
    """Everything is trained from the start."""
    if facts.begun:
        epochs = max(2.0, min(10.0, 2_000 / facts.samples))
        return (_train(config, facts, epochs=round(epochs), lr=begun_lr(facts), bottom=0.3),)
    if facts.pretrained and facts.modality == "audio":
        # A network that has never heard anything learns from its head on, and takes longer.
        lr, passes = (1e-3, 25_000) if facts.foreign else (1e-4, 20_000)
        epochs = max(3.0, min(30.0, passes / facts.samples))
        return (_train(config, facts, epochs=round(epochs), lr=lr, bottom=0.3),)
    if facts.pretrained:
        epochs = max(3.0, min(20.0, 20_000 / facts.samples))
        lr = text_lr(facts, 0.1) if facts.modality == "text" else 3e-4
        return (_train(config, facts, epochs=round(epochs), lr=lr, bottom=0.3),)
    epochs = max(10.0, min(100.0, 100_000 / facts.samples))
    return (_train(config, facts, epochs=round(epochs), lr=1e-3, bottom=1.0),)


def lp_ft(config: FinetuneConfig, facts: Facts) -> tuple[Stage, ...]:
    """The head first, then everything gently, early layers least (Kumar et al., "Fine-tuning can distort pretrained
    features and underperform out-of-distribution", ICLR 2022)."""
    text = facts.modality == "text"
    epochs = max(3.0 if text else 2.0, min(10.0, 2_000 / facts.samples))
    gently = _train(config, facts, epochs=round(epochs), lr=text_lr(facts, 0.06) if text else 5e-5, bottom=0.1)
    return (probe(facts.samples, config.head_epochs), dataclasses.replace(gently, ready=True))


STRATEGIES: dict[str, Callable[[FinetuneConfig, Facts], tuple[Stage, ...]]] = {
    "head": head,
    "full": full,
    "lp-ft": lp_ft,
}


def choose(name: str | None, *, pretrained: bool, probe: bool = True, usual: str = "") -> str:
    """The strategy to use: the asked-for one, else the model's ``usual`` one or ``lp-ft``, or ``full`` where there is
    nothing pretrained to keep or the head cannot be trained on its own.

    Raises:
        UnknownName: with the nearest name.
        UsageError: the asked-for strategy trains the head on its own.
    """
    if name is None:
        return (usual or "lp-ft") if pretrained and probe else "full"
    if name not in STRATEGIES:
        near = difflib.get_close_matches(name, STRATEGIES, n=1)
        raise UnknownName(
            f"There is no strategy {name!r}.",
            (f"Did you mean {near[0]}? " if near else "") + f"Strategies: {', '.join(STRATEGIES)}.",
        )
    if name != "full" and not probe:
        raise UsageError(
            f"The strategy {name} trains heads on pooled features computed once, which this task's head does not use.",
            "Choose --strategy full, or leave it out.",
        )
    return name


def resolved(stages: tuple[Stage, ...]) -> dict[str, Any]:
    """The choices a plan made, as configuration fields: planning from them gives the same plan again."""
    values: dict[str, Any] = {}
    for stage in stages:
        if isinstance(stage, Probe):
            values["head_epochs"] = stage.epochs
        else:
            keys = ("epochs", "batch_size", "lr", "layer_decay", "batchnorm")
            values |= {key: getattr(stage, key) for key in keys}
    return values
