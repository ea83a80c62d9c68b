"""Networks of sound to train from random numbers. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo_registry.specs import InputSpec, ModelSpec


def _scratch(
    name: str, builder: str, dim: int, params: int, seconds: float, summary: str, options: Mapping[str, Any]
) -> ModelSpec:
    return ModelSpec(
        name=name,
        builder=builder,
        pipeline="zoo_audio.pipeline:audio_pipeline",
        input=InputSpec(modality="audio", rate=16_000, seconds=seconds),
        requires=("torchaudio", "soundfile"),
        extra="audio",
        family="scratch",
        dim=dim,
        params=params,
        layouts=("pooled", "tokens", "layers"),
        exports=("onnx",),
        license="apache-2.0",
        summary=summary,
        options=options,
    )


SCRATCH_MODELS: tuple[ModelSpec, ...] = (
    _scratch(
        "conformer",
        "zoo_audio.conformer:build_conformer",
        144,
        2_035_504,
        20.0,
        "Small Conformer on log-mel, a frame each 40 ms, from random numbers.",
        {"dim": 144, "heads": 4, "layers": 4, "feed": 576, "kernel": 15, "dropout": 0.1, "mels": 80},
    ),
    _scratch(
        "emformer",
        "zoo_audio.emformer:build_emformer",
        144,
        1_607_824,
        20.0,
        "Streaming Emformer on log-mel, from random numbers: segments of 0.32 s with 1.28 s before and 0.08 s after.",
        {"dim": 144, "heads": 4, "layers": 6, "feed": 576, "segment": 8, "left": 32, "right": 2, "dropout": 0.1}
        | {"mels": 80},
    ),
    _scratch(
        "wavenet",
        "zoo_audio.wavenet_backbone:build_wavenet",
        128,
        237_376,
        2.0,
        "WaveNet from random numbers: 2,048 samples of receptive field, a token each 10 ms.",
        {"residual": 32, "dim": 128, "dilations": [1, 2, 4, 8, 16, 32, 64, 128, 256, 512] * 2, "kernel": 2},
    ),
)
