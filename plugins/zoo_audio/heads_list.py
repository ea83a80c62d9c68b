"""The audio plugin's heads. Imports no torch."""

from __future__ import annotations

from zoo_registry.specs import HeadSpec

HEADS: tuple[HeadSpec, ...] = ()
