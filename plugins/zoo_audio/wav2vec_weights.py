"""Checkpoints of wav2vec 2.0, HuBERT and WavLM under the names of transformers, turned into torchaudio's."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

WRAPPERS = ("model.", "wav2vec2.", "hubert.", "wavlm.")
"""Under what a network stands in one with a task head, or in the module that torchaudio's bundles normalise with."""

_TRANSFORMERS = "feature_projection."  # torchaudio's stands under encoder.
_NORMS = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
_PARTS = ("q_proj", "k_proj", "v_proj")


def to_torchaudio(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of transformers' Wav2Vec2, HuBERT or WavLM models (with any head), or of torchaudio's own, under
    torchaudio's names. Heads keep theirs, so that :attr:`zoo_registry.specs.WeightsSpec.head_keys` can name them; keys
    that belong to no such model pass as they are, for strict loading to report."""
    named = {_bare(key): tensor for key, tensor in state.items()}
    if any(key.startswith(_TRANSFORMERS) for key in named):
        named = {_moved(key): tensor for key, tensor in named.items()}
    named = {_weight_norm(key): tensor for key, tensor in named.items()}
    return _joined(named) if any(key.endswith("gru_rel_pos_const") for key in named) else named


def _bare(key: str) -> str:
    for wrapper in WRAPPERS:
        key = key.removeprefix(wrapper)
    return key


def _moved(key: str) -> str:
    if key.startswith(_TRANSFORMERS):
        return f"encoder.{key}"
    return re.sub(r"^encoder\.(?=layers\.|layer_norm\.|pos_conv_embed\.)", "encoder.transformer.", key)


def _weight_norm(key: str) -> str:
    """torch has had two ways to store a weight-normalised weight."""
    stem, _, last = key.rpartition(".")
    return f"{stem}.{_NORMS[last]}" if last in _NORMS else key


def _joined(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """WavLM's attention in torchaudio is a ``MultiheadAttention`` inside another module, with queries, keys and values
    from one matrix. What has that form already passes."""
    done: dict[str, Tensor] = {}
    for key, tensor in state.items():
        found = re.fullmatch(r"(.*\.layers\.\d+\.attention)\.(q|k|v|out)_proj\.(weight|bias)", key)
        if not found:
            done[key] = tensor
            continue
        attention, part, kind = found.groups()
        if part == "out":
            done[f"{attention}.attention.out_proj.{kind}"] = tensor
        elif part == "q":
            parts = [state.get(f"{attention}.{name}.{kind}") for name in _PARTS]
            if all(one is not None for one in parts):
                done[f"{attention}.attention.in_proj_{kind}"] = torch.cat(parts)  # type: ignore[arg-type]
    return done
