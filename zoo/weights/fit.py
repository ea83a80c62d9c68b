"""Strict loading: a lost tensor is an error, told by name, never a line in a log."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from zoo_registry.errors import WeightsError

NAMED = 5
SHAPES = r"size mismatch for (\S+?): .*?shape torch\.Size\((\[.*?\])\).*?torch\.Size\((\[.*?\])\)"


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    """Load ``state`` into ``module``; every key must meet its like.

    Args:
        name: of the model, for the error.

    Raises:
        WeightsError: naming up to five keys that are missing, unexpected or of another shape.
    """
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise mismatch(str(error), name, tuple(state)) from error


def mismatch(message: str, name: str, given: Sequence[str]) -> WeightsError:
    """torch's load_state_dict message (which can run to thousands of lines) as one sentence."""
    missing = _quoted(message, "Missing key")
    unexpected = _quoted(message, "Unexpected key")
    shapes = re.findall(SHAPES, message)
    if not (missing or unexpected or shapes):
        return WeightsError(
            f"These weights do not fit {name}: {message.strip().splitlines()[0]}", "Give weights of this model."
        )
    if given and set(unexpected) >= set(given):
        return WeightsError(
            f"None of the {len(given)} tensors in these weights belongs to {name}; the first are {keys_text(given)}.",
            "Give weights of this model, or --weights none to start from random numbers.",
        )
    parts = []
    if missing:
        parts.append(f"{len(missing)} missing ({keys_text(missing)})")
    if unexpected:
        parts.append(f"{len(unexpected)} unexpected ({keys_text(unexpected)})")
    if shapes:
        told = [f"{key} is {got} instead of {wanted}" for key, got, wanted in shapes]
        parts.append(f"{len(shapes)} of another shape ({keys_text(told)})")
    return WeightsError(
        f"These weights do not fit {name}: {'; '.join(parts)}.",
        "Give weights of exactly this model (a different --size can also change shapes).",
    )


def keys_text(keys: Sequence[str]) -> str:
    """Up to five keys, and how many more."""
    more = f" and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
    return ", ".join(keys[:NAMED]) + more


def _quoted(message: str, start: str) -> list[str]:
    for line in message.splitlines():
        if line.strip().startswith(start):
            return re.findall(r'"([^"]+)"', line)
    return []
