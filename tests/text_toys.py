"""Tiny tokenizers and networks for the tests of the text plugin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from zoo_registry.specs import InputSpec, ModelSpec
from zoo_text.transformers_backbone import TransformerBackbone, build_transformer

_TEXT = "a b c d e f g h i j the cat sat on mat dog ran far away good bad film ##s ##ed un ##real x y z 0 1 2 3"
WORDS = _TEXT.split()
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def write_tokenizer(folder: Path, words: list[str] | None = None) -> Path:
    """A WordPiece tokenizer as of BERT; its file carries truncation and padding, as sentence encoders' do."""
    vocabulary = {token: number for number, token in enumerate([*SPECIALS, *(words or WORDS)])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=20)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def write_byte_level(folder: Path, *, prefix: bool = False) -> Path:
    """A byte-level tokenizer as of GPT-2, without merges: one token a byte."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate([*letters, "<|endoftext|>"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


_SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 50,
    "max_position_embeddings": 40,
}
_LLAMA = {**_SIZES, "num_key_value_heads": 1, "pad_token_id": 0}

ENCODERS: dict[str, dict[str, Any]] = {
    "bert": _SIZES,
    "roberta": {**_SIZES, "pad_token_id": 1, "type_vocab_size": 1},
    "xlm-roberta": {**_SIZES, "pad_token_id": 1, "type_vocab_size": 1},
    "distilbert": {
        "dim": 16,
        "n_layers": 2,
        "n_heads": 2,
        "hidden_dim": 24,
        "vocab_size": 50,
        "max_position_embeddings": 40,
    },
    "deberta-v2": {
        **_SIZES,
        "relative_attention": True,
        "position_buckets": 8,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "type_vocab_size": 0,
    },
    "modernbert": {
        **_SIZES,
        "local_attention": 8,
        "global_attn_every_n_layers": 2,
        "pad_token_id": 0,
        "cls_token_id": 2,
        "sep_token_id": 3,
        "bos_token_id": 2,
        "eos_token_id": 3,
    },
    "electra": {**_SIZES, "embedding_size": 8},
    "mpnet": _SIZES,
    "albert": {**_SIZES, "embedding_size": 8, "classifier_dropout_prob": 0.1},
}
CAUSAL: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 40, "vocab_size": 50},
    "opt": {**_SIZES, "ffn_dim": 24, "word_embed_proj_dim": 8, "do_layer_norm_before": False},
    "gpt_neox": _SIZES,
    "llama": _LLAMA,
    "qwen2": {**_LLAMA, "tie_word_embeddings": True},
    "qwen3": {**_LLAMA, "tie_word_embeddings": True, "head_dim": 8},
}
FAMILIES = {**ENCODERS, **CAUSAL}

INPUT = InputSpec(modality="text", size=(32,))


def spec_of(kind: str) -> ModelSpec:
    return ModelSpec(name=f"tiny_{kind}", builder="", pipeline="", input=INPUT)


def tiny(kind: str, state: Any = None, weights: Any = None, input: InputSpec = INPUT) -> TransformerBackbone:
    return build_transformer(spec_of(kind), input, weights, state, config={"model_type": kind, **FAMILIES[kind]})


def write_config(folder: Path, kind: str, **more: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": kind, **FAMILIES[kind], **more}))
    return folder
