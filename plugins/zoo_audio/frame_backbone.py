"""What networks over log-mel frames share: front end, subsampling, a context network. B batch, T samples, N frames,
M mel bands, D width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.protocols import Batch, Features, LayerGroups
from zoo.weights.fit import load_strictly
from zoo_audio.frontend import LogMel
from zoo_audio.masked import masked_mean, real_frames
from zoo_registry.specs import InputSpec, ModelSpec

CHANNELS = 32


class Subsampling(nn.Module):
    """Two convolutions of stride 2 over time and pitch, and a projection: a fourth of the frames (Gulati et al.,
    "Conformer", 2020). What is beyond a clip's frames is zero before each convolution, as if it ended there.

    Args:
        mels: M.
        dim: D.
        dropout: on the projected frames.
    """

    STRIDE = 4

    def __init__(self, mels: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, CHANNELS, 3, stride=2, padding=1)
        self.second = nn.Conv2d(CHANNELS, CHANNELS, 3, stride=2, padding=1)
        self.projection = nn.Linear(CHANNELS * halved(halved(mels)), dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, logs: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, M) zero beyond each of the (B,) counts -> (B, ceil(ceil(N / 2) / 2), D), zero likewise, and its
        mask."""
        maps = logs[:, None]
        for convolution in (self.first, self.second):
            maps, counts = F.relu(convolution(maps)), halved(counts)
            mask = real_frames(counts, maps.shape[2])
            maps = maps * mask[:, None, :, None].to(maps.dtype)
        frames = self.dropout(self.projection(maps.transpose(1, 2).flatten(2)))
        return silenced(frames, mask), mask


class FrameBackbone(nn.Module):
    """Log-mel frames to a context network's frames; also Frames, Maskable and DynamicAxes.

    Args:
        front: waveforms to log-mel.
        module: ``subsampling``, a :class:`Subsampling`; ``encoder``, torchaudio's network, whose layers follow from
            ``layers``; called as ``module(features, mask)`` it gives the output of each layer.
        layers: path of the list of layers inside ``module``.
        spec, input: the record and the input contract.
        dim: D.

    Attributes:
        frame_seconds: from one frame to the next.
    """

    dynamic_axes: Mapping[str, tuple[str, ...]] = {"waveform": ("batch", "time"), "length": ("batch",)}

    def __init__(
        self, front: LogMel, module: FrameNetwork, layers: str, spec: ModelSpec, input: InputSpec, dim: int
    ) -> None:
        super().__init__()
        self.front, self.module = front, module
        self.spec, self.input, self.dim = spec, input, dim
        self.frame_seconds = Subsampling.STRIDE * front.hop / front.rate
        self._layers = f"module.{layers}."

    def forward(self, batch: Batch, layouts: Sequence[str] = ("pooled",)) -> Features:
        """``waveform`` (B, T) and ``length`` (B,) -> Features. ``tokens``, ``mask`` and ``grid`` always come with
        ``pooled``, the mean of real frames; ``"layers"`` fills the input of the first layer and the output of each."""
        return self.contextualise(*self.embed(batch), layers="layers" in layouts)

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The input of the context network (B, N, D), zero where padded, and its mask (B, N)."""
        return self.module.subsampling(*self.front(batch["waveform"], batch["length"]))

    def contextualise(self, features: Tensor, mask: Tensor, layers: bool = False) -> Features:
        """(B, N, D) and (B, N) bool, with one real frame or more in each row, through the context network."""
        outputs = [silenced(features, mask), *self.module(features, mask)]
        return Features(
            pooled=masked_mean(outputs[-1], mask),
            tokens=outputs[-1],
            mask=mask,
            grid=(features.shape[1],),
            layers=tuple(outputs) if layers else None,
        )

    def frames(self, length: Tensor) -> Tensor:
        """(B,) samples -> (B,) real frames, at least 1."""
        return halved(halved(self.front.frames(length)))

    def layer_groups(self) -> LayerGroups:
        """The subsampling, then each layer."""
        groups: dict[str, list[tuple[str, nn.Parameter]]] = {}
        for name, parameter in self.named_parameters():
            layer = name.removeprefix(self._layers)
            title = f"layer.{layer.partition('.')[0]}" if layer != name else "subsampling"
            groups.setdefault(title, []).append((name, parameter))
        return list(groups.items())

    def example_inputs(self, batch_size: int = 2) -> Batch:
        """Half a second of silence each."""
        samples = self.input.rate // 2
        return {
            "waveform": torch.zeros(batch_size, samples),
            "length": torch.full((batch_size,), samples, dtype=torch.int64),
        }


class FrameNetwork(nn.Module):
    """What is trained and saved: ``subsampling``, and an ``encoder`` of torchaudio's. Subclasses run the encoder."""

    def __init__(self, subsampling: Subsampling, encoder: nn.Module) -> None:
        super().__init__()
        self.subsampling, self.encoder = subsampling, encoder

    def forward(self, features: Tensor, mask: Tensor) -> list[Tensor]:
        """(B, N, D), (B, N) bool -> the output (B, N, D) of each layer, in which padding changes no real frame."""
        raise NotImplementedError


def finish(backbone: FrameBackbone, state: Mapping[str, Tensor] | None) -> FrameBackbone:
    """The backbone with ``state`` loaded into its module, strictly.

    Raises:
        WeightsError: a tensor is missing, left over or of another shape.
    """
    if state is not None:
        load_strictly(backbone.module, state, backbone.spec.name)
    return backbone


def silenced(features: Tensor, mask: Tensor) -> Tensor:
    """(B, N, D) with zeros where mask (B, N) is False."""
    return features * mask[:, :, None].to(features.dtype)


def halved(count: Any) -> Any:
    """What a stride of 2 leaves of a length, rounded up."""
    return (count + 1) // 2
