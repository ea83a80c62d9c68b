"""Pretrained weights: named, found, checked, read and fitted to a backbone.

:func:`identify_weights` says which file a name means without importing torch; :func:`load_backbone` builds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zoo.weights.resolve import WeightsId, identify_weights

if TYPE_CHECKING:
    from zoo.weights.load import LoadedBackbone, load_backbone
    from zoo.weights.read import read_state

__all__ = ["LoadedBackbone", "WeightsId", "identify_weights", "load_backbone", "read_state"]


def __getattr__(name: str) -> Any:
    # Naming weights must not cost the import of torch; building needs it anyway.
    if name in {"LoadedBackbone", "load_backbone"}:
        from zoo.weights import load

        return getattr(load, name)
    if name == "read_state":
        from zoo.weights.read import read_state

        return read_state
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
