"""Heads that begin with what a text tower knows. Imports no torch."""

from __future__ import annotations

from zoo_registry.specs import HeadSpec

HEADS: tuple[HeadSpec, ...] = (
    HeadSpec(
        name="zero-shot",
        builder="zoo_multimodal.zero_shot_head:ZeroShotHead",
        task="classification",
        modalities=("image", "audio"),
        start="zoo_multimodal.zero_shot_start:begin",
        summary="One label of several; begins with the text tower's vectors of their names.",
    ),
)
