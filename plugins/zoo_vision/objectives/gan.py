"""A generative adversarial network whose discriminator is the backbone (Goodfellow et al. 2014; Radford et al.,
"DCGAN", ICLR 2016, arXiv:1511.06434), with spectral normalisation (Miyato et al. 2018) and the hinge loss (Lim and Ye
2017, arXiv:1705.02894) or the non-saturating one.

A step has two phases. The discriminator learns to tell a batch of images from as many samples; the generator learns to
make samples that it takes for images. A backbone with batch normalisation always sees images and samples in one batch:
apart, a batch of samples that are all the same would be turned into one of mean 0, like any other, and told from
nothing. ``--batchnorm frozen``, which suits pretrained weights, leaves random ones without any normalisation.

The losses tell nothing about quality, so the last weights are kept (the metric ``updates``). What tells of divergence
are ``distance`` and ``diversity`` (:mod:`zoo_vision.objectives.samples`), the accuracies, and the pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from zoo.objectives import PretrainingTask, read_options
from zoo.protocols import Batch, LayerGroups, Metrics
from zoo_registry.errors import UsageError
from zoo_vision.objectives.generator import GROUP, Generator
from zoo_vision.objectives.keyed import KEY, KeyedView, check_crop, normal
from zoo_vision.objectives.pixels import Pixels
from zoo_vision.objectives.samples import SampleMetrics, along, directions
from zoo_vision.objectives.spectral import SpectralNorm

DISCRIMINATOR, GENERATOR = "discriminator", "generator"
SHOWN = 64
LOSSES = ("hinge", "non-saturating")


@dataclass(frozen=True)
class GanOptions:
    """Settings of the objective.

    Attributes:
        loss: ``"hinge"`` or ``"non-saturating"``.
        spectral: whether the discriminator's weights are spectrally normalised. That gives weights a scale of their
            own: pretrained ones lose what they knew, so there ``false`` is better.
        latent: numbers that a sample is made of.
        width: channels of the generator's last map, a multiple of 8.
        crop: smallest share of a picture's area that is shown.
    """

    loss: str = "hinge"
    spectral: bool = True
    latent: int = 128
    width: int = 64
    crop: float = 0.7

    def __post_init__(self) -> None:
        check_crop(self.crop)
        if self.loss not in LOSSES:
            raise UsageError(f"There is no loss {self.loss!r}.", f"Give one of {', '.join(LOSSES)}.")
        if not isinstance(self.spectral, bool):
            raise UsageError(f"spectral is {self.spectral!r}.", "Give true or false.")
        if self.latent < 1 or self.width < GROUP or self.width % GROUP:
            raise UsageError(
                f"A generator of latent {self.latent} and width {self.width} cannot be made.",
                f"Give a latent of 1 or more, and a width that is a multiple of {GROUP}.",
            )


def build_gan(backbone: Any, pipeline: Any, config: Any) -> GanTask:
    """See :class:`GanTask`. Raises UsageError for sizes that the generator cannot make."""
    return GanTask(backbone, pipeline.input, config.seed, read_options(GanOptions, config))


def gan_view(pipeline: Any, config: Any) -> KeyedView:
    """Crops and flips, and keys to draw latents from."""
    return KeyedView(pipeline, config.seed, read_options(GanOptions, config).crop)


class GanTask(PretrainingTask):
    """The backbone with one output, and a generator of images of the backbone's size. Evaluation, which is of the last
    phase, makes as many samples as there are images, the same latents every time."""

    phases = (DISCRIMINATOR, GENERATOR)
    monitor = ("updates", "max")

    shown: Tensor
    updates: Tensor
    directions: Tensor

    def __init__(self, backbone: Any, input: Any, seed: int, options: GanOptions) -> None:
        super().__init__(backbone)
        self.options = options
        self.generator = Generator(options.latent, options.width, input.size)
        self.head = nn.Linear(backbone.dim, 1)
        self.pixels = Pixels(input)
        self.backbone_norm = SpectralNorm(backbone) if options.spectral else None
        self.head_norm = SpectralNorm(self.head) if options.spectral else None
        fixed = torch.randn(SHOWN, options.latent, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("shown", fixed)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.register_buffer("directions", directions(input.size[0]), persistent=False)

    def forward(
        self, batch: Batch, phase: str = DISCRIMINATOR
    ) -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor | None]:
        count = torch.full((), float(len(batch["image"])), device=batch["image"].device)
        with torch.set_grad_enabled(torch.is_grad_enabled() and phase == GENERATOR):
            made = self.samples(normal(batch[KEY], phase, self.options.latent))
        if phase == GENERATOR and self.training and not self.couples():
            return generator_loss(self.judge(made), self.options.loss).sum(), count, {}, None
        real, fake = self.judge(torch.cat([batch["image"], made])).chunk(2)
        if phase == GENERATOR:
            found = None if self.training else self._figures(batch["image"], made, real, fake)
            return generator_loss(fake, self.options.loss).sum(), count, {}, found
        logs = {"real_accuracy": (real > 0).float().mean(), "fake_accuracy": (fake <= 0).float().mean()}
        return discriminator_loss(real, fake, self.options.loss).sum(), count, logs, None

    def couples(self) -> bool:
        """Whether batch statistics let a score depend on the rest of the batch."""
        return any(isinstance(module, _BatchNorm) and module.training for module in self.backbone.modules())

    def samples(self, latent: Tensor) -> Tensor:
        """(B, Z) -> images (B, C, H, W), normalised as the backbone takes them."""
        made: Tensor = self.generator(latent)
        return self.pixels.normalise((made.float() + 1) / 2)

    def judge(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B,) float: above 0 what is taken for an image of the data."""
        batch = {"image": image}
        pooled = (self.backbone_norm(self.backbone, batch) if self.backbone_norm else self.backbone(batch)).pooled
        logits: Tensor = self.head_norm(self.head, pooled) if self.head_norm else self.head(pooled)
        return logits.squeeze(1).float()

    def _figures(self, image: Tensor, made: Tensor, real: Tensor, fake: Tensor) -> Tensor:
        right = torch.stack([real > 0, fake <= 0], dim=1)
        return torch.cat([along(image, self.directions), along(made, self.directions), right.float()], dim=1)

    def layer_groups(self, phase: str = DISCRIMINATOR) -> LayerGroups:
        """The backbone's groups and its output; or the generator."""
        if phase == GENERATOR:
            return [(GENERATOR, [(f"generator.{name}", p) for name, p in self.generator.named_parameters()])]
        groups = [group for group in super().layer_groups() if group[0] != "objective"]
        return [*groups, ("head", [(f"head.{name}", p) for name, p in self.head.named_parameters()])]

    def after_step(self, step: int, total: int) -> None:
        """Singular vectors follow the weights."""
        self.updates.fill_(step)
        if self.backbone_norm and self.head_norm:
            self.backbone_norm.after_step(self.backbone)
            self.head_norm.after_step(self.head)

    def metrics(self) -> Metrics:
        """See :class:`zoo_vision.objectives.samples.SampleMetrics`."""
        return SampleMetrics({"updates": float(self.updates)})

    def show(self, batch: Batch) -> dict[str, Tensor]:
        """Samples of latents that stay the same all through the run."""
        return {"samples": self.pixels.picture(self.samples(self.shown))}


def discriminator_loss(real: Tensor, fake: Tensor, kind: str) -> Tensor:
    """Of the scores (B,) of images and of samples: (B,)."""
    if kind == "hinge":
        return F.relu(1 - real) + F.relu(1 + fake)
    return F.softplus(-real) + F.softplus(fake)


def generator_loss(fake: Tensor, kind: str) -> Tensor:
    """Of the scores (B,) of samples: (B,)."""
    return -fake if kind == "hinge" else F.softplus(-fake)
