"""Text towers that open_clip takes from transformers, described here so that building one asks no hub.

Sizes are those of the ``config.json`` of the repositories named; they decide the shapes, which loading checks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from zoo_registry.errors import WeightsError


def _roberta(kind: str, hidden: int, layers: int, heads: int, vocabulary: int) -> dict[str, Any]:
    return {
        "model_type": kind,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
        "vocab_size": vocabulary,
        "max_position_embeddings": 514,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
    }


def _mt5(width: int, inner: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "model_type": "mt5",
        "d_model": width,
        "d_ff": inner,
        "d_kv": 64,
        "num_layers": layers,
        "num_heads": heads,
        "vocab_size": 250112,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
        "pad_token_id": 0,
        "eos_token_id": 1,
    }


def _nllb(layers: int, inner: int) -> dict[str, Any]:
    return {
        "model_type": "m2m_100",
        "d_model": 1024,
        "encoder_layers": layers,
        "decoder_layers": layers,
        "encoder_ffn_dim": inner,
        "decoder_ffn_dim": inner,
        "encoder_attention_heads": 16,
        "decoder_attention_heads": 16,
        "encoder_layerdrop": 0,
        "decoder_layerdrop": 0,
        "vocab_size": 256206,
        "max_position_embeddings": 1024,
        "scale_embedding": True,
        "activation_function": "relu",
        "pad_token_id": 1,
    }


HF_TEXTS: Mapping[str, Mapping[str, Any]] = {
    "roberta-base": _roberta("roberta", 768, 12, 12, 50265),
    "xlm-roberta-base": _roberta("xlm-roberta", 768, 12, 12, 250002),
    "xlm-roberta-large": _roberta("xlm-roberta", 1024, 24, 16, 250002),
    "google/mt5-base": _mt5(768, 2048, 12, 12),
    "google/mt5-xl": _mt5(2048, 5120, 24, 32),
    "facebook/nllb-200-distilled-600M": _nllb(12, 4096),
    "facebook/nllb-200-distilled-1.3B": _nllb(24, 8192),
}


@contextmanager
def described_here(text: Mapping[str, Any], name: str) -> Iterator[dict[str, Any]]:
    """open_clip's configuration of a text tower, in which a name on the hub has become a folder with ``config.json``,
    for as long as the tower is built. ``hf_config`` in it describes a network that the table above does not.

    Raises:
        WeightsError: nobody here knows that network.
    """
    made = {key: value for key, value in text.items() if key != "hf_config"}
    wanted = made.get("hf_model_name")
    if not wanted:
        yield made
        return
    config = text.get("hf_config") or HF_TEXTS.get(wanted)
    if config is None:
        raise WeightsError(
            f"The text tower of {name} is {wanted} of transformers, which zoo cannot build without its config.json.",
            "Choose another model, or describe it: hf_config in its text_cfg.",
        )
    with TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text(json.dumps(config), encoding="utf-8")
        yield {**made, "hf_model_name": folder, "hf_model_pretrained": False}
