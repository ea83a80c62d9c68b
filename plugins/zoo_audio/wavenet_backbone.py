"""WaveNet as a backbone of sound, and as a generator of it. B batch, T samples, N tokens, D width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.protocols import Batch, Features, LayerGroups
from zoo.weights.fit import load_strictly
from zoo_audio.frontend import HOP_SECONDS
from zoo_audio.masked import masked_mean, real_frames
from zoo_audio.mulaw import CODES
from zoo_audio.wavenet import WaveNet, companded, values_of
from zoo_registry.errors import UsageError
from zoo_registry.specs import InputSpec, ModelSpec, WeightsSpec

SILENCE = 128
"""The code of a sample of 0."""


def build_wavenet(
    spec: ModelSpec,
    input: InputSpec,
    weights: WeightsSpec | None = None,
    state: Mapping[str, Tensor] | None = None,
    *,
    residual: int = 32,
    dim: int = 128,
    dilations: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512) * 2,
    kernel: int = 2,
) -> WaveNetBackbone:
    """Build a WaveNet.

    Args:
        input: its ``rate``.
        state: of the module of a backbone built alike; None: random numbers.
        residual, dim: R and D.
        dilations: of each layer, input first.
        kernel: taps of each dilated convolution.

    Raises:
        UsageError: no layers, or a dilation or kernel that makes no sense.
        WeightsError: ``state`` does not fit.
    """
    if not dilations or min(dilations) < 1 or kernel < 2:
        raise UsageError(
            f"Dilations {tuple(dilations)} with {kernel} taps make no WaveNet.",
            "Give one dilation or more of 1 or more, and a kernel of 2 or more.",
        )
    module = WaveNet(residual=residual, dim=dim, dilations=dilations, kernel=kernel)
    if state is not None:
        load_strictly(module, state, spec.name)
    return WaveNetBackbone(module, spec, input)


class WaveNetBackbone(nn.Module):
    """A :class:`WaveNet` as a backbone of sound; also Frames, DynamicAxes and Autoregressive.

    A token is the mean of the network's output over 10 ms, as the paper pools for recognition (section 3.4); the last
    one of a clip over what there is of them.

    Args:
        module: the network.
        spec, input: the record and the input contract.

    Attributes:
        dim: D.
        hop: samples of a token.
        frame_seconds: from one token to the next.
    """

    dynamic_axes: Mapping[str, tuple[str, ...]] = {"waveform": ("batch", "time"), "length": ("batch",)}

    def __init__(self, module: WaveNet, spec: ModelSpec, input: InputSpec) -> None:
        super().__init__()
        self.module: Any = module
        self.spec, self.input = spec, input
        self.dim = int(module.hidden.out_channels)
        self.hop = max(1, round(HOP_SECONDS * input.rate))
        self.frame_seconds = self.hop / input.rate

    @property
    def receptive_field(self) -> int:
        """Samples that an output depends on, its own included."""
        return self.module.receptive_field

    def forward(self, batch: Batch, layouts: Sequence[str] = ("pooled",)) -> Features:
        """``waveform`` (B, T) and ``length`` (B,) -> Features. ``tokens`` (B, N, D), ``mask`` and ``grid`` always come
        with ``pooled``, the mean of real tokens; ``"layers"`` fills the sum of the skip connections up to each layer,
        pooled likewise, and the tokens."""
        length = batch["length"]
        maps = self.module(companded(batch["waveform"]), every="layers" in layouts)
        layers = [self._pooled(one, length) for one in maps]
        mask = real_frames(self.frames(length), layers[-1].shape[1])
        return Features(
            pooled=masked_mean(layers[-1], mask),
            tokens=layers[-1],
            mask=mask,
            grid=(mask.shape[1],),
            layers=tuple(layers) if "layers" in layouts else None,
        )

    def forward_codes(self, codes: Tensor) -> Tensor:
        """codes (B, T) int64, 0 to 255 -> logits (B, T, 256): those at ``t`` are of the code at ``t + 1``, and follow
        from ``codes[:, : t + 1]`` alone."""
        return self.module.logits(self.module(values_of(codes))[-1]).transpose(1, 2)

    @torch.no_grad()
    def generate(self, codes: Tensor, count: int, chance: Tensor | None = None) -> Tensor:
        """How sounds go on, in time that grows with their length and not with its square.

        Args:
            codes: (B, T) int64, how they begin; with T of 0 they begin in silence.
            count: of the codes that are wanted.
            chance: (B, count) uniform numbers in [0, 1) that draw each code; None: the likeliest is taken.

        Returns:
            (B, count) int64 codes.
        """
        memory = self.module.start(len(codes))
        begun = codes if codes.shape[1] else codes.new_full((len(codes), 1), SILENCE)
        for place in range(begun.shape[1]):
            logits, memory = self.module.step(values_of(begun[:, place]), memory)
        made = []
        for place in range(count):
            code = logits.argmax(dim=1) if chance is None else _drawn(logits, chance[:, place])
            made.append(code)
            logits, memory = self.module.step(values_of(code), memory)
        return torch.stack(made, dim=1) if made else codes[:, :0]

    def frames(self, length: Tensor) -> Tensor:
        """(B,) samples -> (B,) real tokens, at least 1."""
        return ((length + self.hop - 1) // self.hop).clamp(min=1)

    def layer_groups(self) -> LayerGroups:
        """The first convolution, each layer, and the output."""
        groups: dict[str, list[tuple[str, nn.Parameter]]] = {}
        for name, parameter in self.named_parameters():
            path = name.split(".")
            titles = {"first": "first", "layers": f"layer.{path[2]}"}
            groups.setdefault(titles.get(path[1], "output"), []).append((name, parameter))
        return list(groups.items())

    def example_inputs(self, batch_size: int = 2) -> Batch:
        """Half a second of silence each."""
        samples = self.input.rate // 2
        return {
            "waveform": torch.zeros(batch_size, samples),
            "length": torch.full((batch_size,), samples, dtype=torch.int64),
        }

    def _pooled(self, maps: Tensor, length: Tensor) -> Tensor:
        """(B, D, T) -> (B, N, D): the mean of the real samples of each token, 0 where there is none."""
        samples = maps.shape[2]
        tokens = (samples + self.hop - 1) // self.hop
        real = real_frames(length, samples)[:, None].to(maps.dtype)
        kept, counted = (
            F.pad(one, (0, self.hop))[:, :, : tokens * self.hop].unflatten(2, (tokens, self.hop)).sum(dim=3)
            for one in (maps * real, real)
        )
        return (kept / counted.clamp(min=1)).transpose(1, 2)


def _drawn(logits: Tensor, chance: Tensor) -> Tensor:
    """The code of each row (B, 256) at the place chance (B,) in the sum of probabilities."""
    reached = logits.double().softmax(dim=1).cumsum(dim=1)
    return (reached <= chance[:, None].double()).sum(dim=1).clamp(max=CODES - 1)
