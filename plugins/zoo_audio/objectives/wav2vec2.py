"""Contrastive learning of speech (Baevski et al., "wav2vec 2.0", 2020, arXiv:2006.11477).

Spans of frames are hidden; at each hidden frame the context network has to tell its quantised features from those of
other hidden frames of the same recording. Distractors with the same codes stay in the sum, as in the paper: hence
codes that collapse into one make the loss that of guessing, never a low one.

The loss of a batch is the mean over its hidden frames, plus a penalty on codes that are used unevenly. That penalty
depends on the mean use over the batch, so it couples the samples: batches are not split into micro-batches, unless
``diversity`` is 0. B samples, N frames, M hidden frames, K distractors, G codebooks of V entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.objectives import COUNT, LOSS, RIGHT, PretrainingTask, Totals, read_options
from zoo.protocols import Batch, Metrics
from zoo_audio.objectives.quantiser import ProductQuantiser, perplexity, temperature_at
from zoo_audio.objectives.spans import Hider, at, check_spans, listed, most_hidden, numbers
from zoo_registry.errors import UsageError

BASE_DIM, BASE_ENTRIES, FEWEST_ENTRIES = 768, 320, 8
WIDEST = 256


@dataclass(frozen=True)
class Wav2Vec2Options:
    """Settings of the objective.

    Attributes:
        start: share of the frames at which a hidden span starts.
        span: of a hidden span, in frames.
        distractors: frames that each is to be told from, drawn with replacement.
        groups: codebooks.
        entries: of each codebook; 0: 320 for a backbone of width 768, in proportion for others, 8 at least.
        scale: what cosines are divided by.
        diversity: weight of the penalty on uneven use of the codes.
        hottest, coldest: temperature of the Gumbel softmax at the start and in the last third of the run.
    """

    start: float = 0.065
    span: int = 10
    distractors: int = 100
    groups: int = 2
    entries: int = 0
    scale: float = 0.1
    diversity: float = 0.1
    hottest: float = 2.0
    coldest: float = 0.5

    def __post_init__(self) -> None:
        check_spans(self.start, self.span)
        if self.distractors < 1 or self.groups < 1 or self.entries < 0 or self.entries == 1:
            raise UsageError(
                "There is nothing to tell apart.", "Give 1 or more distractors and groups, and 2 or more entries."
            )
        if not (self.scale > 0 and self.diversity >= 0 and self.hottest >= self.coldest > 0):
            raise UsageError(
                "The settings of the contrastive loss are out of range.",
                "The usual ones are scale 0.1, diversity 0.1, hottest 2.0, coldest 0.5.",
            )


def build_wav2vec2(backbone: Any, pipeline: Any, config: Any) -> Wav2Vec2Task:
    """See :class:`Wav2Vec2Task`."""
    return Wav2Vec2Task(backbone, read_options(Wav2Vec2Options, config))


class Wav2Vec2Task(PretrainingTask):
    """A Maskable backbone, the quantiser, and the two projections whose cosines are compared."""

    temperature: Tensor

    def __init__(self, backbone: Any, options: Wav2Vec2Options) -> None:
        super().__init__(backbone)
        self.options, dim = options, backbone.dim
        entries = options.entries or max(FEWEST_ENTRIES, min(BASE_ENTRIES, BASE_ENTRIES * dim // BASE_DIM))
        width = max(1, min(WIDEST, dim) // options.groups) * options.groups
        self.batch_coupled = options.diversity > 0
        self.hider = Hider(dim, options.start, options.span)
        self.quantiser = ProductQuantiser(dim, options.groups, entries, width)
        self.project_context, self.project_target = nn.Linear(dim, width), nn.Linear(width, width)
        self.register_buffer("temperature", torch.tensor(options.hottest))

    def forward(self, batch: Batch, phase: str = "main") -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor | None]:
        options, draws = self.options, numbers(batch)
        features, context, real, hidden = self.hider(self.backbone, batch)
        places, count = listed(hidden, most_hidden(real.shape[1], options.start, options.span))
        noise = None
        if self.training:
            shape = (places.shape[1], self.quantiser.groups, self.quantiser.entries)
            noise = draws.uniform("code", shape[0] * shape[1] * shape[2]).unflatten(1, shape)
        quantised, codes, chances = self.quantiser(at(features, places), noise, self.temperature)
        cosines = compare(self.project_context(at(context, places)), self.project_target(quantised))
        uniform = draws.uniform("distractor", places.shape[1] * options.distractors)
        others = distractors(uniform.unflatten(1, (places.shape[1], options.distractors)), count)
        target = torch.arange(places.shape[1], device=count.device) < torch.where(count > 1, count, 0)[:, None]
        scores = contrastive_scores(cosines / options.scale, others, codes, target)
        used = F.one_hot(codes, self.quantiser.entries) * target[..., None, None]
        sums = torch.cat([scores.detach(), used.sum(dim=1).flatten(1).to(scores)], dim=1)
        total = sums[:, COUNT].sum()
        uneven = unevenness(chances, target)
        loss = scores[:, LOSS].sum() + options.diversity * uneven * total
        logs = {
            "contrastive_loss": sums[:, LOSS].sum() / total.clamp(min=1),
            "unevenness": uneven.detach(),
            "code_perplexity": perplexity(used.sum(dim=(0, 1)) / total.clamp(min=1)).mean(),
        }
        return loss, total, logs, sums

    def metrics(self) -> Metrics:
        """See :class:`CodeMetrics`."""
        return CodeMetrics(self.quantiser.groups, self.quantiser.entries)

    def after_step(self, step: int, total: int) -> None:
        """The quantiser's choices become harder."""
        self.temperature.fill_(temperature_at(step, total, self.options.hottest, self.options.coldest))


def compare(first: Tensor, second: Tensor) -> Tensor:
    """Cosines of every frame of (B, M, W) with every frame of (B, M, W): (B, M, M) float32."""
    return F.normalize(first.float(), dim=-1) @ F.normalize(second.float(), dim=-1).transpose(1, 2)


def distractors(uniform: Tensor, count: Tensor) -> Tensor:
    """For the i-th hidden frame of a sample, others than i among its ``count`` (B,) hidden frames, each as likely:
    (B, M, K) in [0, 1) -> (B, M, K) int64. Where there is no other frame it means nothing."""
    other = (uniform * (count - 1).clamp(min=1)[:, None, None]).long()
    other = torch.minimum(other, (count - 2).clamp(min=0)[:, None, None])
    own = torch.arange(uniform.shape[1], device=uniform.device)[None, :, None]
    return (other + (other >= own)).clamp(max=uniform.shape[1] - 1)


def contrastive_scores(logits: Tensor, others: Tensor, codes: Tensor, target: Tensor) -> Tensor:
    """Per sample, over its targets: summed cross entropy in nats, targets, and targets told from all distractors that
    have other codes, of which there must be some: (B, 3) float32.

    Args:
        logits: (B, M, M), of frame i's context with frame j's quantised features.
        others: (B, M, K) int64, the distractors of frame i.
        codes: (B, M, G) int64.
        target: (B, M) bool, False where there is nothing to tell.
    """
    true = logits.diagonal(dim1=1, dim2=2)
    wrong = logits.gather(2, others)
    loss = torch.cat([true[..., None], wrong], dim=-1).logsumexp(dim=-1) - true
    other_codes = codes.gather(1, others.flatten(1)[..., None].expand(-1, -1, codes.shape[2]))
    same = (other_codes.unflatten(1, others.shape[1:]) == codes[:, :, None]).all(dim=-1)
    right = ((true[..., None] > wrong) | same).all(dim=-1) & ~same.all(dim=-1)
    return torch.stack([(part * target).sum(dim=1) for part in (loss, target.float(), right)], dim=1)


def unevenness(chances: Tensor, target: Tensor) -> Tensor:
    """1 - the mean over codebooks of the perplexity of the mean chances, over their number of entries: 0 where all
    entries are used alike. From (B, M, G, V) and (B, M) bool, over the whole batch."""
    weight = target[..., None, None].to(chances)
    mean = (chances * weight).sum(dim=(0, 1)) / weight.sum().clamp(min=1)
    return 1.0 - (perplexity(mean) / chances.shape[-1]).mean()


class CodeMetrics(Totals):
    """``contrastive_loss`` (nats; log(K + 1) is guessing), ``accuracy`` (targets told from every distractor of other
    codes), ``code_perplexity`` (of V, mean over codebooks) and ``codes_used`` (share of the entries used at all)."""

    def __init__(self, groups: int, entries: int) -> None:
        super().__init__(3 + groups * entries)
        self.shape = (groups, entries)

    def figures(self, sums: list[float]) -> dict[str, float]:
        count = max(sums[COUNT], 1.0)
        used = torch.tensor(sums[3:], dtype=torch.float64).view(self.shape)
        return {
            "contrastive_loss": sums[LOSS] / count,
            "accuracy": sums[RIGHT] / count,
            "code_perplexity": float(perplexity(used / count).mean()),
            "codes_used": float((used > 0).double().mean()),
        }
