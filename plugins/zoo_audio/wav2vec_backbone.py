"""torchaudio's wav2vec 2.0, HuBERT and WavLM as a :class:`zoo.protocols.Backbone` that padding does not change.

Baevski et al., "wav2vec 2.0", NeurIPS 2020; Hsu et al., "HuBERT", 2021; Chen et al., "WavLM", 2022.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchaudio.models import Wav2Vec2Model, wav2vec2_model, wavlm_model
from torchaudio.models.wav2vec2.components import ConvLayerBlock, Encoder, Transformer
from torchaudio.models.wav2vec2.wavlm_attention import WavLMSelfAttention

from zoo.protocols import Batch, Features, LayerGroups
from zoo.weights.fit import load_strictly
from zoo_audio.conv_extractor import extract, frame_counts
from zoo_audio.masked import masked_mean, normalised_waveform
from zoo_audio.wav2vec_init import initialise
from zoo_audio.wavlm import position_bias, wavlm_layer
from zoo_registry.specs import InputSpec, ModelSpec, WeightsSpec

WAVLM = "WavLM"
FACTORIES = {"Wav2Vec2": wav2vec2_model, WAVLM: wavlm_model}
"""As torchaudio's bundles name the networks; HuBERT's is that of wav2vec 2.0."""


def build_wav2vec(
    spec: ModelSpec,
    input: InputSpec,
    weights: WeightsSpec | None = None,
    state: Mapping[str, Tensor] | None = None,
    *,
    network: str,
    config: Mapping[str, Any],
    normalise: bool,
) -> Wav2VecBackbone:
    """Build torchaudio's network without its output layer.

    Args:
        spec: the record; its name appears in errors.
        input: ``rate`` in samples a second.
        weights: what ``state`` is; its ``head_keys`` are left out.
        state: a checkpoint under torchaudio's names (:func:`zoo_audio.wav2vec_weights.to_torchaudio`). None: random.
        network: ``"Wav2Vec2"`` or ``"WavLM"``.
        config: arguments of torchaudio's ``wav2vec2_model`` or ``wavlm_model`` but ``aux_num_out``.
        normalise: whether waveforms are brought to zero mean and unit variance first.

    Raises:
        WeightsError: a tensor is missing, left over or of another shape.
    """
    # Random numbers that are about to be replaced take longer than reading the file.
    with torch.device("cpu" if state is None else "meta"):
        module: Wav2Vec2Model = FACTORIES[network](**config, aux_num_out=None)
    if state is None:
        initialise(module)
    else:
        heads = weights.head_keys if weights else ()
        module = module.to_empty(device="cpu")
        load_strictly(module, {key: value for key, value in state.items() if not _below(key, heads)}, spec.name)
    return Wav2VecBackbone(module.train(), spec, input, normalise)


class Wav2VecBackbone(nn.Module):
    """A :class:`torchaudio.models.Wav2Vec2Model`; also Frames, Maskable and DynamicAxes. A frame is 400 samples, 320
    after the one before (25 and 20 ms).

    Where torchaudio's own forward lets padding in, this one does not: the extractor's group norm over time takes its
    statistics over real frames, waveforms are normalised over real samples, and WavLM attends to real frames alone.
    With one whole clip both are equal. A clip that is shorter than a frame is one frame, filled up with zeros; batches
    get that many zeros appended (a frame more, masked), so that no length is a special case.

    LayerDrop skips a layer for single samples rather than for a whole batch, so that every parameter takes part in
    every step.

    Args:
        module: without output layer.
        spec: its record.
        input: the input contract it was built for.
        normalise: whether waveforms are brought to zero mean and unit variance first.

    Attributes:
        dim: D, width of frames and ``Features.pooled``.
        frame_seconds: from one frame to the next.
    """

    dynamic_axes: Mapping[str, tuple[str, ...]] = {"waveform": ("batch", "time"), "length": ("batch",)}

    def __init__(self, module: Wav2Vec2Model, spec: ModelSpec, input: InputSpec, normalise: bool) -> None:
        super().__init__()
        self.module = module
        self.spec = spec
        self.input = input
        self.normalise = normalise
        self.dim: int = self._encoder.feature_projection.projection.out_features
        self.frame_seconds = math.prod(block.stride for block in self._blocks) / input.rate
        self._checkpointing = False

    def forward(self, batch: Batch, layouts: Sequence[str] = ("pooled",)) -> Features:
        """``waveform`` (B, T) and ``length`` (B,) -> Features. ``tokens``, ``mask`` and ``grid`` always come with
        ``pooled``, the mean of real frames; ``"layers"`` fills the input of the first layer and then the output of each
        (1 + layers of them, the last being ``tokens``), as s3prl does (Yang et al., "SUPERB", 2021)."""
        return self.contextualise(*self.embed(batch), layers="layers" in layouts)

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """``waveform`` (B, T), ``length`` (B,) -> projected features (B, N, D), zero where padded, and their mask
        (B, N)."""
        waveform, length = batch["waveform"], batch["length"]
        if self.normalise:
            waveform = normalised_waveform(waveform, length)
        frames, mask = extract(self._blocks, waveform, length)
        return _silenced(self._encoder.feature_projection(frames), mask), mask

    def contextualise(self, features: Tensor, mask: Tensor, layers: bool = False) -> Features:
        """(B, N, D) and (B, N) bool, with one real frame or more in each row, through the transformer."""
        transformer = self._transformer
        features = _silenced(features, mask)
        hidden = features + transformer.pos_conv_embed(features)
        if transformer.layer_norm_first:
            hidden = transformer.layer_norm(hidden)
        hidden = transformer.dropout(hidden)
        outputs, run, keep = [hidden], self._runner(hidden, mask), self._kept(hidden)
        for number, layer in enumerate(transformer.layers):
            made = run(layer, hidden)
            hidden = made if keep is None else torch.where(keep[number], made, hidden)
            outputs.append(hidden)
        if not transformer.layer_norm_first:
            hidden = outputs[-1] = transformer.layer_norm(hidden)
        return Features(
            pooled=masked_mean(hidden, mask),
            tokens=hidden,
            mask=mask,
            grid=(hidden.shape[1],),
            layers=tuple(outputs) if layers else None,
        )

    def frames(self, length: Tensor) -> Tensor:
        """(B,) samples -> (B,) real frames, at least 1."""
        return frame_counts(self._blocks, length)

    def layer_groups(self) -> LayerGroups:
        """feature_extractor, feature_projection (with the positional convolution), layer.0, layer.1, ..., and
        final_norm where the transformer ends with one."""
        depth = len(self._transformer.layers)
        titles = ["feature_extractor", "feature_projection", *(f"layer.{i}" for i in range(depth)), "final_norm"]
        groups: dict[str, list[tuple[str, nn.Parameter]]] = {title: [] for title in titles}
        for name, parameter in self.module.named_parameters():
            groups[self._group(name)].append((f"module.{name}", parameter))
        return [(title, members) for title, members in groups.items() if members]

    def example_inputs(self, batch_size: int = 2) -> Batch:
        """Half a second of silence."""
        samples = self.input.rate // 2
        return {
            "waveform": torch.zeros(batch_size, samples),
            "length": torch.full((batch_size,), samples, dtype=torch.int64),
        }

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade compute for memory: activations of layers are recomputed in the backward pass."""
        self._checkpointing = enable

    @property
    def _encoder(self) -> Encoder:
        return self.module.encoder

    @property
    def _transformer(self) -> Transformer:
        return self._encoder.transformer

    @property
    def _blocks(self) -> Sequence[ConvLayerBlock]:
        return self.module.feature_extractor.conv_layers

    def _kept(self, hidden: Tensor) -> Tensor | None:
        """(layers, B, 1, 1) bool: which samples go through which layer; None where all do."""
        drop = self._transformer.layer_drop
        if not self.training or drop <= 0:
            return None
        shape = (len(self._transformer.layers), hidden.shape[0], 1, 1)
        return torch.rand(shape, device=hidden.device) > drop

    def _runner(self, hidden: Tensor, mask: Tensor) -> Callable[[Any, Tensor], Tensor]:
        """``(layer, its input) -> its output``, with what all layers share made once."""
        run: Callable[[Any, Tensor], Tensor]
        first: Any = self._transformer.layers[0].attention
        if isinstance(first, WavLMSelfAttention):
            run = partial(wavlm_layer, bias=position_bias(first, hidden), mask=mask)
        else:
            run = partial(_plain_layer, attended=mask[:, None, None, :].expand(-1, 1, mask.shape[1], -1))
        return partial(checkpoint, run, use_reentrant=False) if self._checkpointing and self.training else run

    def _group(self, name: str) -> str:
        if name.startswith("feature_extractor."):
            return "feature_extractor"
        inner = name.removeprefix("encoder.transformer.")
        if inner.startswith("layers."):
            return f"layer.{inner.split('.')[1]}"
        behind = inner.startswith("layer_norm.") and not self._transformer.layer_norm_first
        return "final_norm" if behind else "feature_projection"


def _plain_layer(layer: nn.Module, hidden: Tensor, attended: Tensor) -> Tensor:
    return layer(hidden, attended)[0]


def _silenced(features: Tensor, mask: Tensor) -> Tensor:
    return features * mask[:, :, None].to(features.dtype)


def _below(key: str, prefixes: Sequence[str]) -> bool:
    return any(key == prefix or key.startswith(f"{prefix}.") for prefix in prefixes)
