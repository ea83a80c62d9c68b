"""Read a weights file into plain tensors without ever running code from it."""

from __future__ import annotations

import argparse
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from zoo.weights.shards import is_index, shards
from zoo_registry.errors import WeightsError

WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model")
"""Keys under which training scripts put the state dict; averaged weights first, as timm does."""

PREFIXES = ("_orig_mod.", "module.")
"""What torch.compile and DistributedDataParallel put before every name."""


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict of a safetensors file, of a torch file read with ``weights_only=True``, or of all files that an
    index of them names, on the CPU.

    Wrappers (``{"state_dict": ...}``) are opened and prefixes (``module.``) taken off.

    Raises:
        WeightsError: the file is missing, truncated, of another format, holds no tensors, or would run code.
    """
    if not path.is_file():
        raise WeightsError(f"There is no weights file {path}.", "Check the path.")
    if is_index(path):
        return {name: tensor for shard in shards(path) for name, tensor in read_state(shard).items()}
    if path.suffix == ".safetensors":
        return _without_prefixes(_read_safetensors(path))
    return _without_prefixes(_unwrap(_read_torch(path), path))


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, "safetensors", error) from error


def _read_torch(path: Path) -> Any:
    try:
        # timm's training checkpoints carry their arguments as a Namespace: attributes, no code.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"(?:GLOBAL|Unsupported class|Unsupported global:?(?: GLOBAL)?) ([\w.]+)", str(error))
        if wanted or "Unsupported" in str(error):
            calls = f" (it calls {wanted[1]})" if wanted else ""
            raise WeightsError(
                f"{path} is a pickle that would run code when opened{calls}, so it was not.",
                "Ask for a safetensors file, or a torch file that holds a plain state dict.",
            ) from error
        raise _damaged(path, "torch", error) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise _damaged(path, "torch", error) from error


def _damaged(path: Path, kind: str, error: Exception) -> WeightsError:
    first = (str(error).strip() or type(error).__name__).splitlines()[0][:160].rstrip(".")
    return WeightsError(
        f"{path} is truncated or no {kind} weights file: {first}.", "Copy or fetch the file again, or give another."
    )


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    while isinstance(content, Mapping):
        inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}
    if not tensors:
        raise WeightsError(f"{path} holds no state dict.", "Give a file that maps parameter names to tensors.")
    return tensors


def _without_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in PREFIXES * 2:  # either may be the outer one
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state
