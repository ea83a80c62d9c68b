"""What is learnt from pairs. Imports no torch."""

from __future__ import annotations

from zoo_registry.specs import ObjectiveSpec

PAIRS = ("image-text", "image-audio", "audio-text")
CONTRASTIVE = {"lock": "", "crop": 0.9}

OBJECTIVES: tuple[ObjectiveSpec, ...] = (
    ObjectiveSpec(
        name="clip",
        builder="zoo_multimodal.objectives.clip:build_clip",
        view="zoo_multimodal.objectives.view:pair_view",
        modalities=PAIRS,
        needs=("DualEncoder",),
        summary="Tell which of a batch belong together, by softmax both ways (CLIP; of sound and texts CLAP).",
        options=CONTRASTIVE,
    ),
    ObjectiveSpec(
        name="siglip",
        builder="zoo_multimodal.objectives.siglip:build_siglip",
        view="zoo_multimodal.objectives.view:pair_view",
        modalities=PAIRS,
        needs=("DualEncoder",),
        summary="Tell of every two in a batch whether they belong together, by sigmoid (SigLIP).",
        options=CONTRASTIVE,
    ),
    ObjectiveSpec(
        name="coca",
        builder="zoo_multimodal.objectives.coca:build_coca",
        view="zoo_multimodal.objectives.view:pair_view",
        modalities=("image-text",),
        needs=("DualEncoder",),
        requires=("open_clip",),
        extra="multimodal",
        summary="clip, and writing the caption, for the models that have a decoder (CoCa).",
        options={**CONTRASTIVE, "caption": 2.0},
    ),
)
