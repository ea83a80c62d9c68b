"""The text plugin's pretraining objectives. Imports no torch."""

from __future__ import annotations

from zoo_registry.specs import ObjectiveSpec

OBJECTIVES = (
    ObjectiveSpec(
        name="mlm",
        builder="zoo_text.objectives.mlm:build_mlm",
        view="zoo_text.objectives.mlm:mlm_view",
        modalities=("text",),
        needs=("LanguageModel",),
        requires=("tokenizers",),
        extra="text",
        summary="Masked language modelling (BERT; masks drawn anew each epoch as in RoBERTa).",
        options={"share": 0.15, "whole_word": False},
    ),
    ObjectiveSpec(
        name="causal",
        builder="zoo_text.objectives.causal:build_causal",
        view="zoo_text.objectives.causal:causal_view",
        modalities=("text",),
        needs=("CausalModel",),
        requires=("tokenizers",),
        extra="text",
        summary="Next-token prediction on packed blocks of text (GPT-2).",
        packed=True,
    ),
    ObjectiveSpec(
        name="rtd",
        builder="zoo_text.objectives.rtd:build_rtd",
        view="zoo_text.objectives.rtd:rtd_view",
        modalities=("text",),
        needs=("LanguageModel",),
        requires=("tokenizers",),
        extra="text",
        summary="Replaced-token detection with a small generator (ELECTRA).",
        options={"share": 0.15, "weight": 50.0, "width": 0.25, "layers": 4, "dropout": 0.1},
    ),
    ObjectiveSpec(
        name="denoise",
        builder="zoo_text.objectives.denoise:build_denoise",
        view="zoo_text.objectives.denoise:denoise_view",
        modalities=("text",),
        needs=("LanguageModel",),
        requires=("tokenizers",),
        extra="text",
        summary="Rebuild a text from one with spans masked and tokens deleted (BART).",
        options={"share": 0.3, "span": 3.0, "delete": 0.1, "layers": 2, "dropout": 0.1},
    ),
)
