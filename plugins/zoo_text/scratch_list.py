"""Networks of the zoo's own, to train from random numbers with a tokenizer of the user's text. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo_registry.specs import InputSpec, ModelSpec

CONTEXT = 512
LENGTH = 256


def _scratch(name: str, builder: str, dim: int, summary: str, options: Mapping[str, Any]) -> ModelSpec:
    return ModelSpec(
        name=name,
        builder=builder,
        pipeline="zoo_text.pipeline:text_pipeline",
        input=InputSpec(modality="text", size=(LENGTH,)),
        requires=("tokenizers",),
        extra="text",
        family="scratch",
        dim=dim,
        layouts=("pooled", "tokens", "layers"),
        exports=("onnx",),
        license="apache-2.0",
        summary=summary,
        options=options,
        context=CONTEXT,
        fit_input="zoo_text.tokenizer_training:fit_tokenizer",
    )


SCRATCH_MODELS = (
    _scratch(
        "transformer",
        "zoo_text.encoder:build_encoder",
        256,
        "Transformer encoder with four layers, from random numbers.",
        {"dim": 256, "layers": 4, "heads": 4, "dropout": 0.1},
    ),
    _scratch(
        "lstm",
        "zoo_text.recurrent:build_recurrent",
        512,
        "Bidirectional LSTM with variational dropout, from random numbers.",
        {"cell": "lstm", "embedding": 256, "dim": 256, "layers": 1, "bidirectional": True, "dropout": 0.25},
    ),
    _scratch(
        "gru",
        "zoo_text.recurrent:build_recurrent",
        512,
        "Bidirectional GRU with variational dropout, from random numbers.",
        {"cell": "gru", "embedding": 256, "dim": 256, "layers": 1, "bidirectional": True, "dropout": 0.25},
    ),
)
