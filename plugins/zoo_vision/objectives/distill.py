"""Learning what a teacher makes of images, without labels (Hinton et al. 2015, arXiv:1503.02531). The student guesses
the teacher's features, its logits through the teacher's own classifier (Chen et al. 2022, "Knowledge distillation with
the reused teacher classifier"), and its maps of the layers between, place by place (Romero et al. 2015,
arXiv:1412.6550); its stages can be taught apart at first. Teacher and student see the same crop, mixed with another one
alike (Beyer et al. 2022, arXiv:2106.05237).

B images, E width of the teacher's features, K its classes, N places of a map.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.console import say
from zoo.data.mix import beta_quantile
from zoo.objectives import COUNT, RIGHT, PretrainingTask, Totals, View, read_options
from zoo.protocols import Batch, Draws, Features, Metrics
from zoo_registry.errors import DataError, UsageError
from zoo_vision.augment import Augmentation
from zoo_vision.objectives.apart import Apart, code_error
from zoo_vision.objectives.maps import Scale, common_scales
from zoo_vision.objectives.teacher import Teacher, load_teacher
from zoo_vision.pipeline import ImagePipeline

MEASURED = 8192
"""Training images from which the spread of the teacher's features is taken."""

SQUARED, BETWEEN = 3, 4
POOLED = "pooled"


@dataclass(frozen=True)
class DistillOptions:
    """Settings of the objective.

    Attributes:
        teacher: model name or run folder.
        teacher_size: side of the teacher's images in pixels; 0: the student's.
        temperature: that logits are divided by.
        logit, feature, layers: weights of the three losses; 0 leaves one out.
        apart: share of the run in which the student's stages are taught apart.
        mixup: alpha of the Beta distribution of each image's share in its mixture; 0: no mixtures.
        crop: smallest share of a picture's area that a random crop of it keeps.
        jitter: strength of the changes of brightness, contrast and saturation.
    """

    teacher: str = ""
    teacher_size: int = 0
    temperature: float = 2.0
    logit: float = 1.0
    feature: float = 1.0
    layers: float = 1.0
    apart: float = 0.0
    mixup: float = 0.5
    crop: float = 0.25
    jitter: float = 0.4

    def __post_init__(self) -> None:
        if not self.teacher:
            raise UsageError("Distillation needs a teacher.", "Name one: -O teacher=efficientnet_lite0.")
        if not self.temperature > 0:
            raise UsageError(f"The temperature is {self.temperature}.", "Give a positive one, such as 2.")
        weights = (self.logit, self.feature, self.layers)
        if min(weights) < 0 or not any(weights):
            raise UsageError("The losses' weights are negative or all 0.", "Give -O logit=1 -O feature=1 -O layers=1.")
        if not 0 <= self.apart < 1 or (self.apart and not self.layers):
            raise UsageError(
                f"apart is {self.apart}, layers is {self.layers}.",
                "Give apart a share of the run below 1, and layers a weight above 0 with it.",
            )
        if self.mixup < 0:
            raise UsageError(f"mixup is {self.mixup}.", "Give 0 (off) or more.")
        if not 0 < self.crop <= 1:
            raise UsageError(f"crop is {self.crop}, which is no share of a picture.", "Give more than 0, at most 1.")


def build_distill(backbone: Any, pipeline: Any, config: Any) -> DistillTask:
    """See :class:`DistillTask`.

    Raises:
        UsageError: no teacher, one that takes other inputs, or one without a classifier where only logits count.
    """
    options = read_options(DistillOptions, config)
    teacher = load_teacher(str(options.teacher), backbone.input, options.teacher_size)
    if not teacher.classes and not options.feature and not options.layers:
        raise UsageError(
            f"The classifier of the teacher {options.teacher} is not known, so it gives no logits.",
            "Learn its features: -O feature=1 -O logit=0.",
        )
    torch.manual_seed(config.seed)  # loading a teacher may have drawn random numbers
    return DistillTask(backbone, teacher, options)


class Match(nn.Module):
    """A linear guess of what a teacher has at some place of its network, whose channels are standardised by the
    training data.

    Args:
        mine, wanted: widths of the student's features and of the teacher's.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mine: int, wanted: int) -> None:
        super().__init__()
        self.linear = nn.Linear(mine, wanted)
        nn.init.zeros_(self.linear.weight)  # a start that says the teacher's mean, and is not wrong by chance
        nn.init.zeros_(self.linear.bias)
        self.register_buffer("mean", torch.zeros(wanted))
        self.register_buffer("std", torch.ones(wanted))

    def fit(self, sums: Tensor) -> None:
        """Take mean and spread of each channel from their :func:`moments`, added up."""
        count, mean = sums[0], sums[1] / sums[0]
        spread = (sums[2] / count - mean.square()).clamp(min=0).sqrt()
        self.mean.copy_(mean)
        # Channels that hardly move carry noise: they are not blown up to the size of the others.
        self.std.copy_(spread.clamp(min=0.1 * float(spread.mean()) + 1e-6))

    def forward(self, mine: Tensor) -> Tensor:
        """(..., mine) -> the guess (..., wanted), standardised, float32."""
        guess: Tensor = self.linear(mine)
        return guess.float()

    def error(self, guess: Tensor, wanted: Tensor) -> Tensor:
        """Squared error of a standardised guess (B, ..., wanted), averaged over all but the batch: (B,)."""
        return (guess - self.standard(wanted)).square().flatten(1).mean(dim=1)

    def standard(self, wanted: Tensor) -> Tensor:
        """What the teacher has (..., wanted), standardised, float32."""
        return (wanted.float() - self.mean) / self.std

    def restored(self, guess: Tensor) -> Tensor:
        """The guess in the teacher's own scale."""
        return guess * self.std + self.mean


class DistillTask(PretrainingTask):
    """A student with a linear map to the teacher's features, and one to each of its maps of a scale that the student
    has as well. Its loss per image is ``feature`` times the mean squared error of standardised features, plus
    ``layers`` times that of maps, plus ``logit`` times the Kullback-Leibler divergence of softened class probabilities
    (in nats, times the squared temperature). While stages are taught apart, the errors of their outputs as entries of
    the next stages (see :mod:`zoo_vision.objectives.apart`) count ``layers`` times as well."""

    share: Tensor

    def __init__(self, backbone: Any, teacher: Teacher, options: DistillOptions) -> None:
        super().__init__(backbone)
        self.teacher, self.options = teacher, options
        self.pooled = Match(backbone.dim, teacher.dim)
        self.scales: dict[str, Scale] = common_scales(backbone, teacher) if options.layers else {}
        if options.layers and not self.scales:
            say("distill: teacher and student have no maps of the same scale, so features and logits alone are learnt")
        self.maps = nn.ModuleDict({name: Match(scale.dim, scale.their_dim) for name, scale in self.scales.items()})
        self.apart = Apart(backbone, self.scales) if options.apart else None
        self.register_buffer("share", torch.zeros(()))  # of the run that is over
        self.known_share: float | None = None

    def fit_data(self, batches: Iterable[Batch]) -> None:
        """Mean and spread of each of the teacher's channels over the first training images.

        Raises:
            DataError: there is but one.
        """
        images, sums = 0, dict[str, Tensor]()
        for batch in batches:
            features, _ = self.teacher(batch["image"], layers=bool(self.scales))
            images += len(features.pooled)
            for name, found in {POOLED: features.pooled, **self.their_maps(features)}.items():
                sums[name] = moments(found) + sums.get(name, 0)
            if images >= MEASURED:
                break
        if images < 2:
            raise DataError("There is one training image, which has no spread.", "Give more images.")
        for name, match in {POOLED: self.pooled, **self.maps}.items():
            match.fit(sums[name])  # type: ignore[operator]

    def forward(self, batch: Batch, phase: str = "main") -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor | None]:
        wanted, target = self.teacher(batch["image"], layers=bool(self.scales))
        theirs = self.their_maps(wanted)
        if self.apart is not None and self.training and self.share_over() < self.options.apart:
            mine, ours, entries = self.taught_apart(batch, theirs)
        else:
            mine = self.backbone(batch, ("pooled", "layers") if self.scales else ("pooled",))
            ours, entries = self.my_maps(mine), torch.zeros_like(mine.pooled[:, 0], dtype=torch.float32)
        guess = self.pooled(mine.pooled)  # (B, E)
        squared = self.pooled.error(guess, wanted.pooled)
        loss = self.options.feature * squared
        right = torch.zeros_like(squared)
        if target is not None:
            logits = self.teacher.classifier(Features(pooled=self.pooled.restored(guess))).float()
            loss = loss + self.options.logit * divergence(logits, target, self.options.temperature)
            right = (logits.detach().argmax(dim=1) == target.argmax(dim=1)).float()
        between = torch.zeros_like(squared)
        if self.scales:
            errors = [match.error(match(ours[name]), theirs[name]) for name, match in self.maps.items()]  # type: ignore[operator]
            between = torch.stack(errors).mean(dim=0)
            loss = loss + self.options.layers * (between + entries)
        sums = torch.stack([loss, torch.ones_like(loss), right, squared, between], dim=1).detach()
        return loss.sum(), sums[:, COUNT].sum(), {}, sums

    def taught_apart(self, batch: Batch, theirs: Mapping[str, Tensor]) -> tuple[Features, dict[str, Tensor], Tensor]:
        """(features, the student's maps, error of the entries (B,)) of stages that are each fed by the teacher."""
        assert self.apart is not None
        standard = {name: self.maps[name].standard(theirs[name]) for name in self.apart.joints}  # type: ignore[operator]
        codes = self.apart.codes(standard)
        with self.apart.fed(self.backbone, codes) as own:
            mine = self.backbone(batch, ("pooled", "layers"))
        entries = torch.stack([code_error(own[name], code) for name, code in codes.items()]).mean(dim=0)
        return mine, {**self.my_maps(mine), **own}, entries

    def their_maps(self, features: Features) -> dict[str, Tensor]:
        """The teacher's maps by number of the student's cells, each (B, N, D)."""
        return {name: scale.of_teacher(features) for name, scale in self.scales.items()}

    def my_maps(self, features: Features) -> dict[str, Tensor]:
        """The student's maps by number of cells, each (B, N, D)."""
        return {name: (features.layers or ())[scale.mine] for name, scale in self.scales.items()}

    def share_over(self) -> float:
        """Share of the run that is over, which a checkpoint brings back. The device is asked for it once."""
        if self.known_share is None:
            self.known_share = float(self.share)
        return self.known_share

    def after_step(self, step: int, total: int) -> None:
        self.known_share = step / total
        self.share.fill_(self.known_share)

    def metrics(self) -> Metrics:
        """See :class:`DistillMetrics`."""
        return DistillMetrics(bool(self.teacher.classes), bool(self.scales))


def moments(features: Tensor) -> Tensor:
    """(3, D) float64: number, sum and sum of squares of each channel of (..., D)."""
    rows = features.flatten(0, -2).double()
    return torch.stack([torch.full_like(rows[0], len(rows)), rows.sum(dim=0), rows.square().sum(dim=0)])


def divergence(logits: Tensor, target: Tensor, temperature: float) -> Tensor:
    """KL(teacher || student) of (B, K) logits at a temperature, times its square: (B,) nats."""
    found = F.log_softmax(logits / temperature, dim=1)
    wanted = F.log_softmax(target / temperature, dim=1)
    return temperature**2 * F.kl_div(found, wanted, reduction="none", log_target=True).sum(dim=1)


class DistillMetrics(Totals):
    """``feature_error`` and ``layers_error``: mean squared error of the teacher's standardised features and maps, about
    1 for saying their mean; ``agreement``: share of images on whose class both agree, where the teacher has classes."""

    def __init__(self, classes: bool, maps: bool) -> None:
        super().__init__(5)
        self.classes, self.maps = classes, maps

    def figures(self, sums: list[float]) -> dict[str, float]:
        count = max(sums[COUNT], 1.0)
        found = {"feature_error": sums[SQUARED] / count}
        if self.maps:
            found["layers_error"] = sums[BETWEEN] / count
        return {**found, "agreement": sums[RIGHT] / count} if self.classes else found


class DistillView(View):
    """Strong random crops and colours, each image mixed with its neighbour in the batch."""

    def __init__(self, pipeline: Any, seed: int, options: DistillOptions) -> None:
        super().__init__(pipeline, seed)
        strength = (options.jitter,) * 3
        varied = Augmentation(crop_scale=(options.crop, 1.0), jitter=strength)
        self.varied = ImagePipeline(pipeline.input, varied)
        self.mixup = options.mixup

    def augment(self, batch: Batch, draws: Draws) -> Batch:
        return self.corrupt(self.varied.augment(batch, draws), draws)

    def corrupt(self, batch: Batch, draws: Draws) -> Batch:
        if not self.mixup:
            return batch
        image = batch["image"]
        share = beta_quantile(draws.uniform("mix", 1)[:, 0], self.mixup)[:, None, None, None]
        return {**batch, "image": torch.lerp(image.roll(1, 0), image, share)}

    def prepare(self, batch: Batch) -> Batch:
        """Whole pictures, none of them mixed."""
        return self.pipeline.prepare(batch)


def distill_view(pipeline: Any, config: Any) -> DistillView:
    """See :class:`DistillView`."""
    return DistillView(pipeline, config.seed, read_options(DistillOptions, config))
