"""Rebuilding hidden parts of a log-mel spectrogram (Huang et al., "Masked Autoencoders that Listen", 2022,
arXiv:2207.06405), adapted to backbones of frames.

Spans of frames are hidden from the context network, and a small decoder says what stood there. The paper's encoder
sees the visible patches alone and leaves the rest to a Transformer decoder; here the encoder reads the hidden places
too, as a learned vector, so that a decoder of two layers is enough (Xie et al., "SimMIM", 2022). B samples, N frames of
the backbone, R mel frames in each of them, M mel bands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from zoo.objectives import COUNT, PretrainingTask, RebuiltMetrics, read_options
from zoo.protocols import Batch, Metrics
from zoo_audio.frontend import LogMel
from zoo_audio.objectives.spans import Hider, check_spans
from zoo_registry.errors import UsageError


@dataclass(frozen=True)
class MaskSpectrogramOptions:
    """Settings of the objective.

    Attributes:
        start: share of the frames at which a hidden span starts.
        span: of a hidden span, in frames.
        mels: bands of the spectrogram that is rebuilt.
    """

    start: float = 0.1
    span: int = 10
    mels: int = 80

    def __post_init__(self) -> None:
        check_spans(self.start, self.span)
        if self.mels < 1:
            raise UsageError(f"There is no spectrogram of {self.mels} bands.", "The usual number is 80.")


def build_mask_spectrogram(backbone: Any, pipeline: Any, config: Any) -> MaskSpectrogramTask:
    """See :class:`MaskSpectrogramTask`."""
    return MaskSpectrogramTask(backbone, read_options(MaskSpectrogramOptions, config))


class MaskSpectrogramTask(PretrainingTask):
    """A backbone that is Maskable and has Frames, with a decoder of two layers; loss per hidden mel frame of 10 ms, the
    mean squared error over its bands."""

    def __init__(self, backbone: Any, options: MaskSpectrogramOptions) -> None:
        super().__init__(backbone)
        dim = backbone.dim
        self.mel = LogMel(backbone.input.rate, mels=options.mels)
        self.ratio = backbone.frame_seconds * self.mel.rate / self.mel.hop
        self.patch = max(1, round(self.ratio))
        self.hider = Hider(dim, options.start, options.span)
        self.decoder = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, self.patch * options.mels)
        )

    def forward(self, batch: Batch, phase: str = "main") -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor | None]:
        _, context, real, hidden = self.hider(self.backbone, batch)
        with torch.no_grad(), torch.autocast(context.device.type, enabled=False):
            mel, count = self.mel(batch["waveform"].float(), batch["length"])
            target, inside = patches(mel, count, real.shape[1], self.patch, self.ratio)
            mean = (mel.sum(dim=1) / count[:, None])[:, None, None]
            wanted = inside & hidden[..., None]
        guess = self.decoder(context).float().unflatten(-1, (self.patch, -1))
        error = ((guess - target).square().mean(dim=-1) * wanted).sum(dim=(1, 2))
        baseline = ((mean - target).square().mean(dim=-1) * wanted).sum(dim=(1, 2))
        sums = torch.stack([error.detach(), wanted.sum(dim=(1, 2)).float(), baseline], dim=1)
        return error.sum(), sums[:, COUNT].sum(), {}, sums

    def metrics(self) -> Metrics:
        """See :class:`zoo.objectives.RebuiltMetrics`."""
        return RebuiltMetrics(3)


def patches(mel: Tensor, count: Tensor, frames: int, patch: int, ratio: float) -> tuple[Tensor, Tensor]:
    """The mel frames that belong to each frame of a backbone, whose frames are ``ratio`` mel frames apart.

    Args:
        mel: (B, L, M), with ``count`` (B,) real frames.

    Returns:
        (B, N, R, M), and (B, N, R) bool, True where a mel frame is real
    """
    first = (torch.arange(frames, dtype=torch.float64) * ratio + 1e-6).long()
    places = (first[:, None] + torch.arange(patch)).to(mel.device)
    inside = places[None] < count[:, None, None]
    return mel[:, places.clamp(max=mel.shape[1] - 1).flatten()].unflatten(1, places.shape), inside
