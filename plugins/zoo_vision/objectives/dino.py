"""DINO: small crops of an image must say what a slower copy of the network says of its large ones (Caron et al.,
"Emerging properties in self-supervised vision transformers", ICCV 2021).

B images, G = 2 large views, V large and small ones, K prototypes.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.engine.batchnorm import own_momenta, restore_momenta
from zoo.objectives import check_share, read_options
from zoo.protocols import Batch, LayerGroups
from zoo_registry.errors import UsageError
from zoo_vision.objectives.any_size import accept_size
from zoo_vision.objectives.ema_teacher import TeacherTask, frozen
from zoo_vision.objectives.joint import StandardLinear, check_positive, count_of, features_of, mlp
from zoo_vision.objectives.views import LOCALS, VIEWS, ManyViews, ViewOptions, uneven_pair, varied
from zoo_vision.pipeline import ImagePipeline

COLDEST = 0.04
"""Temperature that the teacher begins with."""


@dataclass(frozen=True)
class DinoOptions(ViewOptions):
    """Settings of the objective.

    Attributes:
        crop: share of a picture's area from which large views begin, and at which small ones end.
        local_views, local_size, local_crop: number of small views, their side in pixels (0: half the input's), and
            the smallest share of a picture's area that they show.
        momentum: share of itself that the teacher keeps in a step at first; 1 at the end.
        centre: share of itself that the centre of the teacher's outputs keeps in a step.
        temperature: of the student.
        teacher_temperature: of the teacher, from ``warm_up`` (a share of the run) on; it begins at 0.04.
        freeze: share of the run in which prototypes stay as they are.
        prototypes, hidden, bottleneck: widths of the head.
    """

    crop: float = 0.4
    local_views: int = 4
    local_size: int = 0
    local_crop: float = 0.1
    momentum: float = 0.99
    centre: float = 0.9
    temperature: float = 0.1
    teacher_temperature: float = 0.04
    warm_up: float = 0.3
    freeze: float = 0.02
    prototypes: int = 2048
    hidden: int = 1024
    bottleneck: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        check_share("centre", self.centre)
        check_positive(
            temperature=self.temperature,
            teacher_temperature=self.teacher_temperature,
            hidden=self.hidden,
            bottleneck=self.bottleneck,
        )
        if self.prototypes < 2:
            raise UsageError(f"prototypes is {self.prototypes}.", "Give 2 or more.")
        if self.local_views < 0 or self.local_size < 0:
            raise UsageError("local_views or local_size is negative.", "Give 0 or more.")
        if not 0 < self.local_crop <= self.crop:
            raise UsageError(f"local_crop is {self.local_crop}.", f"Give more than 0, at most crop ({self.crop:g}).")
        if not (0 <= self.warm_up <= 1 and 0 <= self.freeze < 1):
            raise UsageError("warm_up or freeze is no share of the run.", "Give 0 to less than 1.")


def build_dino(backbone: Any, pipeline: Any, config: Any, classes: tuple[str, ...] = ()) -> DinoTask:
    """See :class:`DinoTask`.

    Raises:
        UsageError: a backbone that takes images of one size only.
    """
    options = read_options(DinoOptions, config)
    if options.local_views:
        accept_size(backbone, small_size(options, pipeline))
    return DinoTask(backbone, classes, options)


def dino_view(pipeline: ImagePipeline, config: Any) -> ManyViews:
    """Two large views, blurred and solarised unlike, and the small ones."""
    options = read_options(DinoOptions, config)
    small = dataclasses.replace(varied(options, blur=0.5), crop_scale=(options.local_crop, options.crop))
    crops = [small] * options.local_views
    return ManyViews(pipeline, config.seed, uneven_pair(options), crops, small_size(options, pipeline))


def small_size(options: DinoOptions, pipeline: ImagePipeline) -> tuple[int, int]:
    """(h, w) of small views. Half a side is of whole patches wherever their number is even."""
    height, width = pipeline.input.size[1:]
    return (options.local_size,) * 2 if options.local_size else (height // 2, width // 2)


class DinoHead(nn.Module):
    """Features (..., D) -> cosines (..., K) with prototypes, through three layers and a bottleneck. Prototypes have
    length 1 (the paper's normalised last layer).

    Its layers are those of :mod:`zoo_vision.objectives.byol`. Through the paper's, features of a network from random
    numbers, which are much alike, gave outputs so much alike that what the teacher said became the same for all
    prototypes (entropy 7.616 of at most 7.625 nats after 84 steps on 900 photos; 7.548 through these).

    Args:
        dim: D.
    """

    def __init__(self, dim: int, options: DinoOptions) -> None:
        super().__init__()
        hidden = options.hidden
        self.body = mlp(dim, hidden, hidden, options.bottleneck, linear=StandardLinear)
        # As long as a layer's rows, though length plays no part: the longer, the less a step of AdamW turns them.
        self.prototypes = nn.Linear(options.bottleneck, options.prototypes, bias=False).weight

    def forward(self, features: Tensor, learning: Tensor | float = 1.0) -> Tensor:
        """``learning``: 0 keeps gradients from the prototypes."""
        prototypes = self.prototypes.detach() + learning * (self.prototypes - self.prototypes.detach())
        return F.linear(F.normalize(self.body(features), dim=-1), F.normalize(prototypes, dim=-1))


class DinoTask(TeacherTask):
    """A student learns :func:`agreement` with its teacher, which follows. The teacher is the better network (the
    paper's figure 6), so it is ``backbone``: what is watched, kept and finetuned."""

    centre: Tensor
    outputs: Tensor
    seen: Tensor
    share: Tensor

    def __init__(self, backbone: Any, classes: tuple[str, ...], options: DinoOptions) -> None:
        super().__init__(backbone, classes, options.momentum)
        self.options = options
        self.student, self.student_head = copy.deepcopy(backbone), DinoHead(backbone.dim, options)
        self.head = frozen(copy.deepcopy(self.student_head))
        frozen(backbone)
        self.register_buffer("centre", torch.zeros(options.prototypes))
        # Sum and number of the teacher's outputs in this step so far, over micro-batches.
        self.register_buffer("outputs", torch.zeros(options.prototypes))
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("share", torch.zeros(()))  # of the run that is over

    def teachers(self) -> Sequence[tuple[nn.Module, nn.Module]]:
        return [(self.backbone, self.student), (self.head, self.student_head)]

    def layer_groups(self, phase: str = "main") -> LayerGroups:
        """The student's groups from input to output, then its head."""
        groups: LayerGroups = [
            (name, [(f"student.{key}", parameter) for key, parameter in parameters])
            for name, parameters in self.student.layer_groups()
        ]
        return [
            *groups,
            ("objective", [(f"student_head.{key}", value) for key, value in self.student_head.named_parameters()]),
        ]

    def forward(self, batch: Batch, phase: str = "main") -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor | None]:
        options = self.options
        large = batch[VIEWS]
        with torch.no_grad():
            raw = self.head(features_of(self.backbone, large)).float()  # (B, 2, K)
            heat = teacher_temperature(self.share, options)
            wanted = ((raw - self.centre) / heat).softmax(dim=-1)
            if self.training:
                self.outputs += raw.sum(dim=(0, 1))
                self.seen += raw.shape[0] * raw.shape[1]
        found = [features_of(self.student, large)]
        if LOCALS in batch:
            # Running statistics are for images of the full size, which evaluation has.
            with statistics_kept(self.student):
                found.append(features_of(self.student, batch[LOCALS]))
        learning = (self.share >= options.freeze).to(self.share.dtype)
        guess = self.student_head(torch.cat(found, dim=1), learning).float() / options.temperature
        loss = agreement(wanted, guess.log_softmax(dim=-1))
        entropy = -torch.special.xlogy(wanted, wanted).sum(dim=-1).mean()
        return loss.sum(), count_of(loss), {"teacher_entropy": entropy}, self.watched(batch)

    def after_step(self, step: int, total: int) -> None:
        super().after_step(step, total)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(self.outputs)
            torch.distributed.all_reduce(self.seen)
        self.centre.lerp_(self.outputs / self.seen, 1 - self.options.centre)
        self.outputs.zero_()
        self.seen.zero_()
        self.share.fill_(step / total)


def teacher_temperature(share: Tensor, options: DinoOptions) -> Tensor:
    """From 0.04, linearly in the share of the run that is over, to the option's value."""
    over = (share / options.warm_up).clamp(max=1.0) if options.warm_up else torch.ones_like(share)
    return COLDEST + over * (options.teacher_temperature - COLDEST)


def agreement(wanted: Tensor, guess: Tensor) -> Tensor:
    """Cross entropy of each view's guess from what the teacher says of each other large view, averaged over these
    pairs: (B,) nats.

    Args:
        wanted: (B, G, K) probabilities of the large views.
        guess: (B, V, K) logarithms of probabilities, large views first.
    """
    every = -torch.einsum("bgk,bvk->bgv", wanted, guess)
    own = every.diagonal(dim1=1, dim2=2).sum(dim=1)
    views = guess.shape[1]
    return (every.sum(dim=(1, 2)) - own) / (wanted.shape[1] * (views - 1))


@contextmanager
def statistics_kept(module: nn.Module) -> Iterator[None]:
    """Batch normalisation normalises by the batch inside, but remembers nothing of it."""
    momenta = own_momenta(module)
    for layer, _ in momenta:
        layer.momentum = 0.0
    try:
        yield
    finally:
        restore_momenta(momenta)
