"""Masked prediction of clusters (Hsu et al., "HuBERT", 2021, arXiv:2106.07447), its first iteration.

Frames of 10 ms are clustered by their MFCC before training starts. Then spans of the backbone's frames are hidden, and
the backbone guesses the cluster that each belongs to. B samples, N frames of the backbone, K clusters, C coefficients.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.console import say
from zoo.data.draws import HashDraws
from zoo.objectives import COUNT, LOSS, RIGHT, PretrainingTask, Totals, read_options, token_scores
from zoo.protocols import IGNORE, Batch, Metrics
from zoo_audio.masked import real_frames
from zoo_audio.objectives.kmeans import assign, kmeans
from zoo_audio.objectives.mfcc import Mfcc
from zoo_audio.objectives.quantiser import perplexity
from zoo_audio.objectives.spans import Hider, check_spans
from zoo_registry.errors import DataError, UsageError

WIDEST = 256
SHOWN = 6
"""Columns of a sample's sums before the counts of its clusters: those of the hidden and of the other frames."""


@dataclass(frozen=True)
class HubertOptions:
    """Settings of the objective.

    Attributes:
        start: share of the frames at which a hidden span starts.
        span: of a hidden span, in frames.
        clusters: to guess among.
        frames: of the training split that are clustered, drawn at random where it has more.
        unmasked: weight of the frames that are not hidden, against 1 of those that are.
        scale: what cosines are divided by.
    """

    start: float = 0.08
    span: int = 10
    clusters: int = 100
    frames: int = 50_000
    unmasked: float = 0.0
    scale: float = 0.1

    def __post_init__(self) -> None:
        check_spans(self.start, self.span)
        if self.clusters < 2 or self.frames < self.clusters:
            raise UsageError(
                f"{self.clusters} clusters of {self.frames} frames do not go.",
                "Give 2 clusters or more, and at least as many frames.",
            )
        if self.unmasked < 0 or self.scale <= 0:
            raise UsageError("The weights of the loss are out of range.", "The usual ones are unmasked 0, scale 0.1.")


def build_hubert(backbone: Any, pipeline: Any, config: Any) -> HubertTask:
    """See :class:`HubertTask`."""
    return HubertTask(backbone, read_options(HubertOptions, config), config.seed)


class HubertTask(PretrainingTask):
    """A backbone that is Maskable and has Frames, and one vector for each cluster."""

    mean: Tensor
    deviation: Tensor
    centroids: Tensor

    def __init__(self, backbone: Any, options: HubertOptions, seed: int) -> None:
        super().__init__(backbone)
        self.options, self.seed, width = options, seed, min(WIDEST, backbone.dim)
        self.mfcc = Mfcc(backbone.input.rate)
        self.hider = Hider(backbone.dim, options.start, options.span)
        self.project = nn.Linear(backbone.dim, width)
        self.guesses = nn.Parameter(torch.empty(options.clusters, width).normal_())
        self.register_buffer("mean", torch.zeros(Mfcc.width))
        self.register_buffer("deviation", torch.ones(Mfcc.width))
        self.register_buffer("centroids", torch.zeros(options.clusters, Mfcc.width))

    @torch.no_grad()
    def fit_data(self, batches: Iterable[Batch]) -> None:
        """Cluster the frames of the training split; see :class:`zoo.protocols.FitsData`."""
        points = self._sample(batches)
        self.mean.copy_(points.mean(dim=0))
        self.deviation.copy_(points.std(dim=0).clamp(min=1e-5))
        points = (points - self.mean.cpu()) / self.deviation.cpu()
        self.centroids.copy_(kmeans(points, self.options.clusters, self.seed))
        nearest, distance = assign(points, self.centroids.cpu())
        effective = perplexity(torch.bincount(nearest, minlength=len(self.centroids)) / len(points))
        spread = float(distance.mean() / points.square().sum(dim=1).mean())
        say(
            f"clusters: {len(self.centroids)} of {len(points):,} frames, as good as {float(effective):.0f} used alike, "
            f"{spread:.0%} of the variance left within them"
        )

    def _sample(self, batches: Iterable[Batch]) -> Tensor:
        """(n, C) MFCC frames on the CPU, those with the lowest of the random numbers that each has of its own."""
        kept, lowest = torch.empty(0, Mfcc.width), torch.empty(0)
        for batch in batches:
            frames, count = self.mfcc(batch["waveform"], batch["length"])
            drawn = HashDraws(self.seed, 0, batch["index"]).uniform("clustered frame", frames.shape[1])
            real = real_frames(count, frames.shape[1])
            kept = torch.cat([kept, frames[real].float().cpu()])
            lowest = torch.cat([lowest, drawn[real].cpu()])
            chosen = lowest.argsort(stable=True)[: self.options.frames]
            kept, lowest = kept[chosen], lowest[chosen]
        if len(kept) < 2:
            raise DataError("The training split has not even two frames to cluster.", "Give more data.")
        return kept

    def targets(self, batch: Batch, frames: int) -> Tensor:
        """(B, N) int64: the cluster of the MFCC frame in the middle of each of ``frames`` frames of the backbone."""
        coefficients, count = self.mfcc(batch["waveform"], batch["length"])
        places = middles(frames, self.backbone.frame_seconds * self.mfcc.mel.rate / self.mfcc.mel.hop)
        chosen = torch.minimum(places.to(count.device)[None], (count - 1)[:, None])
        aligned = coefficients.gather(1, chosen[..., None].expand(-1, -1, coefficients.shape[2]))
        return assign((aligned.float() - self.mean) / self.deviation, self.centroids)[0]

    def forward(self, batch: Batch, phase: str = "main") -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor | None]:
        _, context, real, hidden = self.hider(self.backbone, batch)
        with torch.no_grad(), torch.autocast(context.device.type, enabled=False):
            target = self.targets(batch, real.shape[1])
        cosines = F.normalize(self.project(context).float(), dim=-1) @ F.normalize(self.guesses.float(), dim=-1).T
        logits = cosines / self.options.scale
        masked = token_scores(logits, torch.where(hidden, target, IGNORE))
        others = token_scores(logits, torch.where(real & ~hidden, target, IGNORE))
        weight = self.options.unmasked
        loss = masked[:, LOSS].sum() + weight * others[:, LOSS].sum()
        count = masked[:, COUNT].sum() + weight * others[:, COUNT].sum()
        kinds = (F.one_hot(seen, len(self.centroids)) for seen in (target, logits.detach().argmax(dim=-1)))
        counts = [(kind * hidden[..., None]).sum(dim=1).float() for kind in kinds]
        sums = torch.cat([masked.detach(), others.detach(), *counts], dim=1)
        return loss, count.detach(), {}, sums

    def metrics(self) -> Metrics:
        """See :class:`ClusterMetrics`."""
        return ClusterMetrics(len(self.centroids))


def middles(frames: int, ratio: float) -> Tensor:
    """Where the middle of each of ``frames`` frames lies, in whole shorter frames of which ``ratio`` make one."""
    places = (torch.arange(frames, dtype=torch.float64) + 0.5) * ratio
    return (places + 1e-6).long()  # a ratio such as 0.02 * 16000 / 160 is not exact


class ClusterMetrics(Totals):
    """``masked_accuracy`` and ``unmasked_accuracy``; what to hold them against: ``majority_accuracy``, of always saying
    the most frequent cluster; and how many clusters, were they equally frequent, the targets and the guesses come to:
    ``target_perplexity``, ``guess_perplexity`` (hidden frames)."""

    def __init__(self, clusters: int) -> None:
        super().__init__(SHOWN + 2 * clusters)
        self.clusters = clusters

    def figures(self, sums: list[float]) -> dict[str, float]:
        count = max(sums[COUNT], 1.0)
        kinds = torch.tensor(sums[SHOWN:], dtype=torch.float64).view(2, self.clusters) / count
        target, guess = perplexity(kinds).tolist()
        return {
            "masked_accuracy": sums[RIGHT] / count,
            "unmasked_accuracy": sums[3 + RIGHT] / max(sums[3 + COUNT], 1.0),
            "majority_accuracy": float(kinds[0].max()),
            "target_perplexity": target,
            "guess_perplexity": guess,
        }
