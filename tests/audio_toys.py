"""Tiny networks for the tests of the audio plugin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from zoo_audio.wav2vec_backbone import Wav2VecBackbone, build_wav2vec
from zoo_registry.specs import InputSpec, ModelSpec

INPUT = InputSpec(modality="audio", rate=16000, seconds=2.0)
KERNELS = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))

_GROUP_NORM: dict[str, Any] = {
    "extractor_mode": "group_norm",
    "extractor_conv_layer_config": [[8, kernel, stride] for kernel, stride in KERNELS],
    "extractor_conv_bias": False,
    "encoder_embed_dim": 16,
    "encoder_projection_dropout": 0.1,
    "encoder_pos_conv_kernel": 16,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": 3,
    "encoder_num_heads": 2,
    "encoder_attention_dropout": 0.1,
    "encoder_ff_interm_features": 24,
    "encoder_ff_interm_dropout": 0.1,
    "encoder_dropout": 0.1,
    "encoder_layer_norm_first": False,
    "encoder_layer_drop": 0.1,
}
_LAYER_NORM = {
    **_GROUP_NORM,
    "extractor_mode": "layer_norm",
    "extractor_conv_bias": True,
    "encoder_layer_norm_first": True,
}
_POSITIONS = {"encoder_num_buckets": 16, "encoder_max_distance": 20}

# By the extractor's norm: over time, as of the base networks, or over channels, as of the large ones.
WAV2VEC: dict[str, dict[str, Any]] = {
    "wav2vec2": {"network": "Wav2Vec2", "config": _GROUP_NORM, "normalise": False},
    "wav2vec2_large": {"network": "Wav2Vec2", "config": _LAYER_NORM, "normalise": True},
    "wavlm": {"network": "WavLM", "config": {**_GROUP_NORM, **_POSITIONS}, "normalise": False},
    "wavlm_large": {"network": "WavLM", "config": {**_LAYER_NORM, **_POSITIONS}, "normalise": True},
}


def tiny_wav2vec(kind: str = "wav2vec2", *, state: Any = None, weights: Any = None, **changes: Any) -> Wav2VecBackbone:
    """A network of a kind of :data:`WAV2VEC`, 16 wide, 3 layers deep; ``changes`` to its configuration by name."""
    options = {**WAV2VEC[kind], "config": {**WAV2VEC[kind]["config"], **changes}}
    spec = ModelSpec(name=f"tiny_{kind}", builder="", pipeline="", input=INPUT)
    return build_wav2vec(spec, INPUT, weights, state, **options)


def clips(lengths: Sequence[int], seed: int = 0) -> list[Tensor]:
    """One noise of each length, in [-1, 1), louder and less centred from one to the next."""
    noise = torch.Generator().manual_seed(seed)
    return [
        (torch.rand(length, generator=noise) - 0.5) * (0.2 + 0.3 * (row % 3)) + 0.05 * (row % 2)
        for row, length in enumerate(lengths)
    ]


def padded(sounds: Sequence[Tensor], more: int = 0) -> dict[str, Tensor]:
    """The clips as one batch, with ``more`` zeros than the longest needs."""
    length = torch.tensor([len(sound) for sound in sounds])
    waveform = torch.zeros(len(sounds), int(length.max()) + more)
    for row, sound in enumerate(sounds):
        waveform[row, : len(sound)] = sound
    return {"waveform": waveform, "length": length}
