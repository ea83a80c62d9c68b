"""Any vision backbone on log-mel spectrograms. B batch, T samples, N frames, M mel bands, C channels, D width."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.protocols import Backbone, Batch, Features, LayerGroups
from zoo_audio.frontend import HOP_SECONDS, WINDOW_SECONDS, LogMel
from zoo_registry.builders import load_builder
from zoo_registry.errors import UsageError
from zoo_registry.specs import InputSpec, ModelSpec, WeightsSpec

STRIDE = 32
"""Frames come in multiples of what nearly every vision network divides its images by."""

FEWEST, MOST = 64, 1024


def build_spectrogram(
    spec: ModelSpec,
    input: InputSpec,
    weights: WeightsSpec | None = None,
    state: Mapping[str, Tensor] | None = None,
    *,
    vision: ModelSpec,
    mels: int = 64,
    range_db: float = 40.0,
) -> SpectrogramBackbone:
    """Build the vision model for images of ``mels`` by as many frames as ``input.seconds`` asks for.

    Args:
        spec: the record of the combination.
        input: its ``rate`` and ``seconds``.
        weights: of the vision model, under its own tag.
        state: as the vision model's builder takes it.
        vision: the vision model's record.
        mels: M.
        range_db: dynamic range kept. What is fainter is mostly the microphone's noise, by which a network of pictures
            would rather know the speaker than the word.

    Raises:
        UsageError: no length is given, or the network cannot take such images.
        WeightsError: as the vision model's builder.
    """
    if input.seconds <= 0:
        raise UsageError(
            f"{spec.name} hears a fixed length at once, and none is given.", "Give --seconds, such as --seconds 5."
        )
    frames, hop = shape_of(input)
    front = LogMel(input.rate, mels=mels, hop=hop, window=_window(input.rate, hop), range_db=range_db)
    size = (vision.input.size[0], mels, frames)
    builder = load_builder(vision.builder, vision.requires, vision.extra)
    image = dataclasses.replace(vision.input, size=size, fixed_size=False)
    try:
        inner = builder(vision, image, weights, state, **vision.options)
    except UsageError as error:
        raise UsageError(
            f"{vision.name} cannot see spectrograms of {mels} bands by {frames} frames: {error.problem}",
            "Choose another vision model, such as spectrogram/efficientnet_lite0.",
        ) from error
    return SpectrogramBackbone(front, inner, spec, input, frames)


def shape_of(input: InputSpec) -> tuple[int, int]:
    """(frames, hop in samples) that cover ``input.seconds`` with about 10 ms from frame to frame, within bounds."""
    frames = STRIDE * round(input.seconds / HOP_SECONDS / STRIDE)
    frames = min(MOST, max(FEWEST, frames))
    return frames, int(input.seconds * input.rate) // frames + 1


def _window(rate: int, hop: int) -> int:
    return 2 * max(round(WINDOW_SECONDS * rate / 2), hop)


class SpectrogramBackbone(nn.Module):
    """Waveforms to a standardised log-mel image of a fixed size to the vision backbone's features.

    The image always has ``frames`` frames, whatever is in the batch, so a clip's features depend on nothing else. Its
    frames beyond the clip are as dark as the clip's darkest. With mean 0 and deviation 1 it is what an ImageNet
    network expects; the one channel is shown as often as the network has channels. What is longer than the
    contract's ``seconds`` is not heard: whoever calls cuts it into windows.

    Args:
        front: waveforms to log-mel.
        inner: the vision backbone, for images (C, M, frames).
        spec, input: of the combination.
        frames: width of the image.

    Attributes:
        module: the vision library's own module.
    """

    dynamic_axes: Mapping[str, tuple[str, ...]] = {"waveform": ("batch", "time"), "length": ("batch",)}

    def __init__(self, front: LogMel, inner: Backbone, spec: ModelSpec, input: InputSpec, frames: int) -> None:
        super().__init__()
        self.front = front
        self.inner: Any = inner
        self.spec, self.input, self.frames = spec, input, frames
        self.dim: int = inner.dim

    @property
    def module(self) -> nn.Module:
        return self.inner.module

    def forward(self, batch: Batch, layouts: Sequence[str] = ("pooled",)) -> Features:
        """``waveform`` (B, T) and ``length`` (B,) -> the vision backbone's features, its grid (bands, frames)."""
        return self.inner({"image": self.image(batch["waveform"], batch["length"])}, layouts)

    def image(self, waveform: Tensor, length: Tensor) -> Tensor:
        """(B, T), (B,) -> (B, C, M, frames), low bands first."""
        samples = self.frames * self.front.hop - 1  # the most of which the front end makes so many frames
        heard = F.pad(waveform, (0, samples))[:, :samples]
        logs, counts = self.front(heard, length.clamp(max=samples))
        real = torch.arange(self.frames, device=logs.device) < counts[:, None]
        darkest = logs.amin(dim=(1, 2), keepdim=True)  # of real frames: others are 0, the mean
        image = torch.where(real[:, :, None], logs, darkest).transpose(1, 2)
        return image[:, None].expand(-1, self.inner.input.size[0], -1, -1)

    def layer_groups(self) -> LayerGroups:
        """The vision backbone's groups; the front end learns nothing."""
        return [
            (title, [(f"inner.{name}", parameter) for name, parameter in members])
            for title, members in self.inner.layer_groups()
        ]

    def example_inputs(self, batch_size: int = 2) -> Batch:
        """Half a second of silence each."""
        samples = self.input.rate // 2
        return {
            "waveform": torch.zeros(batch_size, samples),
            "length": torch.full((batch_size,), samples, dtype=torch.int64),
        }
