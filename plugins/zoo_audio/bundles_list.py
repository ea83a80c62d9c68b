"""The torchaudio bundles: wav2vec 2.0, HuBERT, WavLM. Imports no torch.

The list comes from ``catalogue.json``, written by tools/generate_audio_catalogue.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo_registry.specs import InputSpec, ModelSpec, WeightsSpec

SECONDS = 16.0
"""Heard at once: about the longest utterance of the corpora that the networks were trained on."""

TAG = "torchaudio"
HEADS = (
    "aux",
    *("lm_head", "quantizer", "project_q", "project_hid", "masked_spec_embed"),
    *("classifier", "projector", "layer_weights"),
    *("mask_generator", "logit_generator"),
)
"""What stands beside the network: torchaudio's output layer, transformers' heads, torchaudio's pretraining models."""


def _model(row: Mapping[str, Any]) -> ModelSpec:
    published = row["hub"].rpartition("/")[2]
    return ModelSpec(
        name=row["name"],
        builder="zoo_audio.wav2vec_backbone:build_wav2vec",
        pipeline="zoo_audio.pipeline:audio_pipeline",
        input=InputSpec(modality="audio", rate=row["rate"], seconds=SECONDS),
        requires=("torchaudio", "soundfile"),
        extra="audio",
        family=row["family"],
        dim=row["dim"],
        params=row["params"],
        layouts=("pooled", "tokens", "layers"),
        exports=("onnx",),
        default_weights=TAG,
        aliases={published: None} if published else {},
        license=row["license"],
        summary=row["summary"],
        options={"network": row["network"], "config": row["config"], "normalise": row["normalise"]},
    )


def _weights(row: Mapping[str, Any]) -> WeightsSpec:
    return WeightsSpec(
        model=row["name"],
        tag=TAG,
        sources=(f"url:{row['url']}", *((f"hub:{row['hub']}",) if row["hub"] else ())),
        trust_first=True,
        head_keys=HEADS,
        remap="zoo_audio.wav2vec_weights:to_torchaudio",
        num_classes=row["labels"],
        license=row["license"],
    )


_ROWS = json.loads(Path(__file__).with_name("catalogue.json").read_bytes())["models"]

BUNDLES: tuple[ModelSpec, ...] = tuple(map(_model, _ROWS))
BUNDLE_WEIGHTS: tuple[WeightsSpec, ...] = tuple(map(_weights, _ROWS))
