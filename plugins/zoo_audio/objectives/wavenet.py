"""Guessing sound sample by sample (van den Oord et al., "WaveNet", 2016, arXiv:1609.03499): each of 256 codes of
mu-law companding from those before it. B samples, T samples of sound.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.objectives import COUNT, LOSS, RIGHT, PretrainingTask, Totals, token_scores
from zoo.protocols import IGNORE, Batch, Draws, Metrics
from zoo_audio.masked import real_frames
from zoo_audio.mulaw import mu_law_encode
from zoo_audio.objectives.view import SoundView


def wavenet_view(pipeline: Any, config: Any) -> WavenetView:
    """See :class:`WavenetView`."""
    return WavenetView(pipeline, config.seed)


def build_wavenet(backbone: Any, pipeline: Any, config: Any) -> WavenetTask:
    """See :class:`WavenetTask`."""
    return WavenetTask(backbone)


class WavenetView(SoundView):
    """Adds ``codes`` (B, T) int64 and ``target`` (B, T): the code after each, IGNORE at the last one and at padding."""

    def corrupt(self, batch: Batch, draws: Draws) -> Batch:
        codes = mu_law_encode(batch["waveform"])
        real = real_frames(batch["length"], codes.shape[1])
        after = torch.where(real[:, 1:], codes[:, 1:], IGNORE)
        return {**batch, "codes": codes, "target": F.pad(after, (0, 1), value=IGNORE)}


class WavenetTask(PretrainingTask):
    """An Autoregressive backbone and its own output layer; loss per guessed sample of sound."""

    def forward(self, batch: Batch, phase: str = "main") -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor | None]:
        scores = token_scores(self.backbone.forward_codes(batch["codes"]), batch["target"])
        sums = scores.detach()
        return scores[:, LOSS].sum(), sums[:, COUNT].sum(), {}, sums

    def metrics(self) -> Metrics:
        """See :class:`SampleMetrics`."""
        return SampleMetrics(3)


class SampleMetrics(Totals):
    """``bits_per_sample``, of which guessing takes 8, and ``accuracy``, from rows of
    :func:`zoo.objectives.token_scores`."""

    def figures(self, sums: list[float]) -> dict[str, float]:
        count = max(sums[COUNT], 1.0)
        return {"bits_per_sample": sums[LOSS] / count / math.log(2.0), "accuracy": sums[RIGHT] / count}
