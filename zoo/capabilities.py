"""What a head or an objective needs of a backbone, checked when they are put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zoo import protocols
from zoo_registry.errors import PluginError, UsageError


def require(backbone: Any, needs: Sequence[str], by: str) -> None:
    """Check that a backbone offers every named capability protocol of :mod:`zoo.protocols`.

    Args:
        by: who needs them, for the message.

    Raises:
        UsageError: one is missing; names it and what it is.
        PluginError: there is no such protocol.
    """
    for name in needs:
        capability = getattr(protocols, name, None)
        if capability is None:
            raise PluginError(f"{by} needs {name}, which zoo.protocols does not define.", "Report it to the plugin.")
        if not isinstance(backbone, capability):
            what = (capability.__doc__ or "").strip().partition("\n")[0].rstrip(".:,")
            raise UsageError(
                f"{by} cannot use {backbone.spec.name}: it is no {name} ({what[0].lower()}{what[1:]}).",
                "Choose another model: zoo list",
            )
