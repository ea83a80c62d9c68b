"""Which backbones an objective over texts can train."""

from __future__ import annotations

from typing import Any

from zoo_registry.errors import UsageError


def needs_both_sides(backbone: Any, objective: str) -> None:
    """Refuse backbones whose tokens see only what is before them.

    Raises:
        UsageError: the backbone is causal.
    """
    if getattr(backbone, "causal", False):
        raise UsageError(
            f"The objective {objective} needs tokens that see both sides, and {backbone.spec.name} is a causal model.",
            "Choose --objective causal.",
        )
