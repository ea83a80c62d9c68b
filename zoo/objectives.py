"""What pretraining objectives of every modality share: their inputs, their task, their settings and their figures.

B samples, M positions, V classes.
"""

from __future__ import annotations

import dataclasses
import zlib
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.data.draws import HashDraws
from zoo.protocols import IGNORE, Batch, Draws, LayerGroups, Metrics, Pipeline
from zoo_registry.errors import UsageError

Options = TypeVar("Options")
EVALUATION = zlib.crc32(b"evaluation of an objective")

LOSS, COUNT, RIGHT = range(3)
BASELINE = 2  # in place of RIGHT, of what is rebuilt rather than guessed
VECTORS = "vectors"


def read_options(kind: type[Options], config: Any) -> Options:
    """An objective's settings out of ``config.options``.

    Args:
        kind: a dataclass of them, whose ``__post_init__`` refuses what does not go.

    Raises:
        UsageError: a setting that the objective does not have, or a value it cannot take.
    """
    known = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    if unknown := sorted(set(config.options) - set(known)):
        raise UsageError(f"The objective has no setting {unknown[0]!r}.", f"It has {', '.join(known)}.")
    return kind(**config.options)


def check_share(name: str, value: float) -> None:
    """Refuse what is no share of a whole.

    Raises:
        UsageError: outside (0, 1).
    """
    if not 0.0 < value < 1.0:
        raise UsageError(f"{name} is {value}, which is no share.", "Give a value between 0 and 1.")


def token_scores(logits: Tensor, target: Tensor) -> Tensor:
    """Per sample the summed cross entropy in nats, the number of targets and of targets guessed right: (B, 3) float32.

    Args:
        logits: (B, M, V).
        target: (B, M) ids, IGNORE where there is nothing to guess.
    """
    loss = F.cross_entropy(logits.flatten(0, 1).float(), target.flatten(), reduction="none", ignore_index=IGNORE)
    real = target != IGNORE
    right = (logits.detach().argmax(dim=-1) == target) & real
    return torch.stack([loss.view_as(target).sum(1), real.sum(1).float(), right.sum(1).float()], dim=1)


class View:
    """A pipeline whose transforms make an objective's inputs and targets (:meth:`corrupt`), per sample.

    Args:
        pipeline: the modality's, or a view of it.
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
        return self.unvaried(batch, draws)

    def unvaried(self, batch: Batch, draws: Draws) -> Batch:
        """The batch corrupted anew in each epoch, its inputs not varied otherwise (``--no-augment``)."""
        return self.corrupt(self.pipeline.prepare(batch), draws)

    def prepare(self, batch: Batch) -> Batch:
        """The batch corrupted in the same way in every evaluation."""
        return self.corrupt(self.pipeline.prepare(batch), HashDraws(self.seed ^ EVALUATION, 0, batch["index"]))

    def corrupt(self, batch: Batch, draws: Draws) -> Batch:
        """What the pipeline's ``prepare`` gives, made an objective's batch."""
        raise NotImplementedError


class PretrainingTask(nn.Module):
    """A :class:`zoo.protocols.Task` over a backbone, which can be saved alone. Subclasses give ``forward`` and
    ``metrics``."""

    phases: tuple[str, ...] = ("main",)
    batch_coupled = False
    monitor = ("loss", "min")

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, batch: Batch, phase: str = "main") -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor | None]:
        raise NotImplementedError

    def metrics(self) -> Metrics:
        raise NotImplementedError

    def layer_groups(self, phase: str = "main") -> LayerGroups:
        """The backbone's groups from input to output, then what the objective adds."""
        groups: LayerGroups = [
            (name, [(f"backbone.{key}", parameter) for key, parameter in parameters])
            for name, parameters in self.backbone.layer_groups()
        ]
        own = [
            (key, parameter)
            for key, parameter in self.named_parameters()
            if parameter.requires_grad and not key.startswith("backbone.")
        ]
        return [*groups, ("objective", own)] if own else groups

    def after_step(self, step: int, total: int) -> None:
        """Nothing follows a step."""

    def export_module(self) -> nn.Module:
        raise UsageError("A pretraining objective is not a model to export.", "Finetune what it trained, then export.")

    def example_inputs(self, batch_size: int = 2) -> Batch:
        """What the backbone reads."""
        return self.backbone.example_inputs(batch_size)


class CoupledTask(PretrainingTask):
    """A :class:`zoo.protocols.Coupled` task. Subclasses give :meth:`vectors`, :meth:`compare` and :meth:`outputs`, and
    in ``sample`` what they compare."""

    batch_coupled = True
    sample = "sample"

    def forward(self, batch: Batch, phase: str = "main") -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor | None]:
        vectors = self.vectors(batch)
        if phase == VECTORS:
            nothing = vectors.new_zeros(())
            return nothing, nothing, {}, vectors
        loss, count, logs = self.compare(vectors)
        return loss, count, logs, self.outputs(batch, vectors)

    def couple(self, vectors: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """See :meth:`compare`.

        Raises:
            UsageError: there is but one sample.
        """
        if len(vectors) < 2:
            raise UsageError(
                f"A batch holds one {self.sample}, which there is nothing to tell from.",
                "Give a --batch-size of 2 or more.",
            )
        return self.compare(vectors)

    def vectors(self, batch: Batch) -> Tensor:
        """(B, ...) float: all that the loss knows of each sample."""
        raise NotImplementedError

    def compare(self, vectors: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """(N, ...) of the whole batch -> the loss summed over samples, N, logs."""
        raise NotImplementedError

    def outputs(self, batch: Batch, vectors: Tensor) -> Tensor | None:
        """What :meth:`metrics` is updated with."""
        raise NotImplementedError


class Totals:
    """Metrics from columns of sums, one row a sample: what :meth:`zoo.protocols.Task.metrics` of these objectives is
    updated with.

    Args:
        width: number of columns.
    """

    def __init__(self, width: int) -> None:
        self.sums = torch.zeros(width, dtype=torch.float64)

    def update(self, logits: Tensor, batch: Batch) -> None:
        """logits: (B, width) sums."""
        self.sums += logits.to(self.sums.dtype).sum(dim=0)

    def compute(self) -> dict[str, float]:
        """Plain floats of the sums over all processes."""
        sums = self.sums.clone()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
        return self.figures(sums.tolist())

    def figures(self, sums: list[float]) -> dict[str, float]:
        raise NotImplementedError

    def reset(self) -> None:
        self.sums.zero_()

    def to(self, device: torch.device) -> Totals:
        kind = torch.float32 if device.type == "mps" else torch.float64
        self.sums = self.sums.to(device=device, dtype=kind)
        return self


class RebuiltMetrics(Totals):
    """Of rows of squared error, count and squared error of a guess that knows nothing of the sample:
    ``relative_error``, the first over the last; below 1 something is learnt."""

    def figures(self, sums: list[float]) -> dict[str, float]:
        return {"relative_error": sums[LOSS] / max(sums[BASELINE], 1e-12)}
