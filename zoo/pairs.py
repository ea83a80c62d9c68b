"""Pairs of two modalities: what they are called, and a pipeline made of the two sides' own."""

from __future__ import annotations


def sides(modality: str) -> tuple[str, str] | None:
    """``"image-text"`` -> ``("image", "text")``; None for a single modality."""
    first, dash, second = modality.partition("-")
    return (first, second) if dash else None
