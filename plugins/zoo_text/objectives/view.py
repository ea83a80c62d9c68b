"""What the objectives' views share: draws for training and for evaluation, and the tokenizer's kinds of tokens."""

from __future__ import annotations

import dataclasses
import zlib
from typing import Any, TypeVar

import torch
from torch import Tensor

from zoo.data.draws import HashDraws
from zoo.protocols import Batch, Draws, Pipeline
from zoo_registry.errors import UsageError

Options = TypeVar("Options")
EVALUATION = zlib.crc32(b"evaluation of an objective")


class View:
    """A text pipeline whose transforms make an objective's inputs and targets (:meth:`corrupt`), per sample.

    Args:
        pipeline: a :class:`zoo_text.pipeline.TextPipeline`, or a view of one.
        seed: of the run.
    """

    def __init__(self, pipeline: Pipeline, seed: int) -> None:
        self.pipeline, self.seed = pipeline, seed

    def __getattr__(self, name: str) -> Any:
        if name == "pipeline":  # not there yet while an instance is being unpickled
            raise AttributeError(name)
        return getattr(self.pipeline, name)

    def augment(self, batch: Batch, draws: Draws) -> Batch:
        """The batch corrupted anew in each epoch."""
        return self.corrupt(self.pipeline.prepare(batch), draws)

    def prepare(self, batch: Batch) -> Batch:
        """The batch corrupted in the same way in every evaluation."""
        return self.corrupt(self.pipeline.prepare(batch), HashDraws(self.seed ^ EVALUATION, 0, batch["index"]))

    def corrupt(self, batch: Batch, draws: Draws) -> Batch:
        """What the pipeline's ``prepare`` gives for texts or packed blocks, made an objective's batch."""
        raise NotImplementedError


class Resident:
    """A constant table that is copied to each device once: every copy makes the host wait."""

    def __init__(self, table: Tensor) -> None:
        self.copies = {table.device: table}

    def on(self, device: torch.device) -> Tensor:
        """The table on a device."""
        if device not in self.copies:
            self.copies[device] = next(iter(self.copies.values())).to(device)
        return self.copies[device]


class Vocabulary:
    """Which ids of a pipeline's tokenizer are special, and which are words or pieces of them.

    Attributes:
        mask: id of the mask token, or None.
    """

    def __init__(self, pipeline: Any) -> None:
        self.mask: int | None = pipeline.special.mask
        known = pipeline.tokenizer.get_vocab(with_added_tokens=True).values()
        special = torch.zeros(1 + max(known), dtype=torch.bool)
        special[pipeline.special.ids] = True
        self._special = Resident(special)
        self._ordinary = Resident(torch.tensor(sorted(set(known) - set(pipeline.special.ids)), dtype=torch.int64))

    def is_special(self, ids: Tensor) -> Tensor:
        """Bool in the shape of ids."""
        return self._special.on(ids.device)[ids]

    def pick(self, uniform: Tensor) -> Tensor:
        """Ordinary ids, each as likely, int64 in the shape of numbers from [0, 1)."""
        table = self._ordinary.on(uniform.device)
        return table[(uniform * len(table)).long().clamp(max=len(table) - 1)]

    def need_mask(self, objective: str) -> int:
        """The id of the mask token.

        Raises:
            UsageError: the tokenizer has none.
        """
        if self.mask is None:
            raise UsageError(
                f"The objective {objective} needs a mask token, which this model's tokenizer lacks.",
                "Choose --objective causal, or a model such as bert_base_uncased.",
            )
        return self.mask


def read_options(kind: type[Options], config: Any) -> Options:
    """An objective's settings out of ``config.options``.

    Raises:
        UsageError: a setting that the objective does not have, or a value it cannot take.
    """
    known = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    if unknown := sorted(set(config.options) - set(known)):
        raise UsageError(f"The objective has no setting {unknown[0]!r}.", f"It has {', '.join(known)}.")
    return kind(**config.options)


def check_share(name: str, value: float) -> None:
    """Refuse what is no share of the tokens.

    Raises:
        UsageError: outside (0, 1).
    """
    if not 0.0 < value < 1.0:
        raise UsageError(f"{name} is {value}, no share of the tokens.", "Give a value between 0 and 1.")
