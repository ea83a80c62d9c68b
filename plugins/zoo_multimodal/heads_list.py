"""Heads that begin with what a text tower knows. Imports no torch."""

from __future__ import annotations

from zoo_registry.specs import HeadSpec

HEADS: tuple[HeadSpec, ...] = ()
