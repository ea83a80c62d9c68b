"""Learning what a teacher makes of images, without labels (Hinton et al. 2015, arXiv:1503.02531). The student guesses
the teacher's features, its logits through the teacher's own classifier (Chen et al. 2022, "Knowledge distillation with
the reused teacher classifier"), and its maps of the layers between, place by place (Romero et al. 2015,
arXiv:1412.6550). Teacher and student see the same crop, mixed with another one alike (Beyer et al. 2022,
arXiv:2106.05237).

B images, E width of the teacher's features, K its classes, N places of a map.
"""

from __future__ import annotations

from collections.abc import Iterable
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
        return (guess - (wanted.float() - self.mean) / self.std).square().flatten(1).mean(dim=1)

    def restored(self, guess: Tensor) -> Tensor:
        """The guess in the teacher's own scale."""
        return guess * self.std + self.mean


class DistillTask(PretrainingTask):
    """A student with a linear map to the teacher's features, and one to each of its maps that has as many places as one
    of the student's. Its loss per image is ``feature`` times the mean squared error of standardised features, plus
    ``layers`` times that of maps, plus ``logit`` times the Kullback-Leibler divergence of softened class probabilities
    (in nats, times the squared temperature)."""

    def __init__(self, backbone: Any, teacher: Teacher, options: DistillOptions) -> None:
        super().__init__(backbone)
        self.teacher, self.options = teacher, options
        self.pooled = Match(backbone.dim, teacher.dim)
        self.maps = nn.ModuleDict(common_maps(backbone, teacher) if options.layers else {})

    def fit_data(self, batches: Iterable[Batch]) -> None:
        """Mean and spread of each of the teacher's channels over the first training images.

        Raises:
            DataError: there is but one.
        """
        images, sums = 0, dict[str, Tensor]()
        for batch in batches:
            features, _ = self.teacher(batch["image"], layers=bool(self.maps))
            images += len(features.pooled)
            for name, found in {POOLED: features.pooled, **by_places(features)}.items():
                sums[name] = moments(found) + sums.get(name, 0)
            if images >= MEASURED:
                break
        if images < 2:
            raise DataError("There is one training image, which has no spread.", "Give more images.")
        for name, match in {POOLED: self.pooled, **self.maps}.items():
            match.fit(sums[name])  # type: ignore[operator]

    def forward(self, batch: Batch, phase: str = "main") -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor | None]:
        wanted, target = self.teacher(batch["image"], layers=bool(self.maps))
        mine = self.backbone(batch, ("pooled", "layers") if self.maps else ("pooled",))
        guess = self.pooled(mine.pooled)  # (B, E)
        squared = self.pooled.error(guess, wanted.pooled)
        loss = self.options.feature * squared
        right = torch.zeros_like(squared)
        if target is not None:
            logits = self.teacher.classifier(Features(pooled=self.pooled.restored(guess))).float()
            loss = loss + self.options.logit * divergence(logits, target, self.options.temperature)
            right = (logits.detach().argmax(dim=1) == target.argmax(dim=1)).float()
        if self.maps:
            theirs, ours = by_places(wanted), by_places(mine)
            errors = [match.error(match(ours[name]), theirs[name]) for name, match in self.maps.items()]  # type: ignore[operator]
            between = torch.stack(errors).mean(dim=0)
            loss = loss + self.options.layers * between
        else:
            between = torch.zeros_like(squared)
        sums = torch.stack([loss, torch.ones_like(loss), right, squared, between], dim=1).detach()
        return loss.sum(), sums[:, COUNT].sum(), {}, sums

    def metrics(self) -> Metrics:
        """See :class:`DistillMetrics`."""
        return DistillMetrics(bool(self.teacher.classes), bool(self.maps))


def moments(features: Tensor) -> Tensor:
    """(3, D) float64: number, sum and sum of squares of each channel of (..., D)."""
    rows = features.flatten(0, -2).double()
    return torch.stack([torch.full_like(rows[0], len(rows)), rows.sum(dim=0), rows.square().sum(dim=0)])


def by_places(features: Features) -> dict[str, Tensor]:
    """The last map (B, N, D) of each resolution, by N."""
    return {str(found.shape[1]): found for found in features.layers or ()}


@torch.no_grad()
def common_maps(backbone: Any, teacher: Teacher) -> dict[str, Match]:
    """Guesses of the teacher's maps that have as many places as one of the student's; none where one of the two shows
    no maps, which is said."""
    training = backbone.training
    try:
        image = backbone.example_inputs(1)["image"]
        ours = by_places(backbone.eval()({"image": image}, ("pooled", "layers")))
        theirs = by_places(teacher(image, layers=True)[0])
    except UsageError:
        ours = theirs = {}
    finally:
        backbone.train(training)
    matches = {name: Match(ours[name].shape[2], theirs[name].shape[2]) for name in ours if name in theirs}
    if not matches:
        say("distill: teacher and student have no maps of the same size, so features and logits alone are learnt")
    return matches


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
