"""Hiding spans of frames from a context network (Baevski et al., "wav2vec 2.0", 2020, section 4.2).

B samples, N frames, M hidden frames, D width.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from zoo.data.draws import HashDraws
from zoo.protocols import Batch, Draws
from zoo_audio.objectives.view import SoundView
from zoo_registry.errors import UsageError


def keyed_view(pipeline: Any, config: Any) -> KeyedView:
    """See :class:`KeyedView`."""
    return KeyedView(pipeline, config.seed)


def check_spans(start: float, span: int) -> None:
    """Refuse settings that hide nothing or everything.

    Raises:
        UsageError: they are out of range.
    """
    if not (0.0 < start < 1.0 and span >= 1):
        raise UsageError(
            f"Spans of {span} frames that start at a share of {start} of the frames do not go.",
            "Give a start between 0 and 1, such as 0.065, and a span of 1 frame or more, such as 10.",
        )


def numbers(batch: Batch) -> HashDraws:
    """Random numbers of a sample's own in this epoch, as many as the task asks for."""
    return HashDraws(0, 0, batch["key"])


def span_mask(mask: Tensor, draws: Draws, start: float, span: int) -> Tensor:
    """Hide spans of frames that may overlap.

    Of a sample's n frames ``start * n`` (rounded up or down at random, one at least) begin a span: which ones is drawn
    without replacement, from the places where a whole span fits. Of a short sample a span is at most the half.

    Args:
        mask: (B, N) bool, True where a frame is real; these come first.
        draws: one row a sample; what is hidden does not depend on the padding.

    Returns:
        (B, N) bool, True where a frame is hidden.
    """
    frames = mask.sum(dim=1, keepdim=True)
    places = torch.arange(mask.shape[1], device=mask.device)[None]
    spans = (frames // 2).clamp(min=1, max=span)
    fits = places <= frames - spans
    order = torch.where(fits, draws.uniform("span place", mask.shape[1]), 2.0).argsort(dim=1, stable=True)
    count = (start * frames + draws.uniform("span count", 1)).floor().clamp(min=1)
    begins = torch.zeros_like(mask).scatter(1, order, places < count) & fits
    reach = torch.where(begins, places + spans, 0).cummax(dim=1).values
    return reach > places


def most_hidden(frames: int, start: float, span: int) -> int:
    """M: how many of ``frames`` frames can be hidden, so that a batch's shape waits for no device."""
    return min(frames, (math.ceil(start * frames) + 1) * span)


def listed(hidden: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The places of the True (B, N), in order: ``(places (B, M), count (B,))``; what stands at ``count`` and beyond
    means nothing."""
    return (~hidden).to(torch.uint8).argsort(dim=1, stable=True)[:, :most], hidden.sum(dim=1)


def at(frames: Tensor, places: Tensor) -> Tensor:
    """frames (B, N, D) at places (B, M): (B, M, D)."""
    return frames.gather(1, places[..., None].expand(-1, -1, frames.shape[2]))


class KeyedView(SoundView):
    """Adds ``key`` (B,) int64, out of which the task makes random numbers: how many it takes is known only behind the
    backbone's first layers, where samples have become frames."""

    def corrupt(self, batch: Batch, draws: Draws) -> Batch:
        bits = (draws.uniform("key", 2) * 2**24).to(torch.int64)
        return {**batch, "key": bits[:, 0] * 2**24 + bits[:, 1]}


class Hider(nn.Module):
    """Hides spans of frames behind a learned vector and lets a :class:`zoo.protocols.Maskable` backbone read on.

    Args:
        dim: D of the backbone.
        start, span: see :func:`span_mask`.
    """

    def __init__(self, dim: int, start: float, span: int) -> None:
        super().__init__()
        self.start, self.span = start, span
        self.vector = nn.Parameter(torch.empty(dim).uniform_())

    def forward(self, backbone: Any, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(features (B, N, D) before anything was hidden, context (B, N, D), real (B, N) bool, hidden (B, N) bool)."""
        features, real = backbone.embed(batch)
        hidden = span_mask(real, numbers(batch), self.start, self.span)
        shown = torch.where(hidden[..., None], self.vector.to(features.dtype), features)
        return features, backbone.contextualise(shown, real).tokens, real, hidden
