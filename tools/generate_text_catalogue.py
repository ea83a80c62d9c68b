"""Write ``plugins/zoo_text/catalogue.json``: one row a checkpoint, from the list below.

    python tools/generate_text_catalogue.py            # rewrite the file (half a minute)
    python tools/generate_text_catalogue.py --check    # compare instead; exit 1 on drift

Names, places and licences are written by hand; widths, parameters, vocabularies and contexts are those of the network
that the plugin builds from the configuration, on torch's meta device, so that no weights are downloaded.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from catalogue_file import write_or_compare

from zoo_registry.specs import InputSpec, ModelSpec
from zoo_text.transformers_backbone import build_transformer

FILE = Path(__file__).resolve().parent.parent / "plugins" / "zoo_text" / "catalogue.json"
SCHEMA_VERSION = 1
LENGTH = 512
"""Longest input in tokens where the checkpoint's authors name none: longer ones cost memory few tasks repay."""

BERT_HEADS = ("cls", "pooler")
DISTILBERT = {"dim": 768, "n_layers": 6, "n_heads": 12, "hidden_dim": 3072}


def _sizes(hidden: int, layers: int, heads: int, inner: int, **more: Any) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        **more,
    }


def _roberta(hidden: int, layers: int, heads: int, inner: int, vocabulary: int = 50265) -> dict[str, Any]:
    extra = {"max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
    return _sizes(hidden, layers, heads, inner, vocab_size=vocabulary, **extra)


def _deberta(hidden: int, layers: int, heads: int, inner: int) -> dict[str, Any]:
    return _sizes(
        hidden,
        layers,
        heads,
        inner,
        vocab_size=128100,
        type_vocab_size=0,
        layer_norm_eps=1e-7,
        relative_attention=True,
        position_buckets=256,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
    )


def _gpt2(width: int, layers: int, heads: int) -> dict[str, Any]:
    return {"n_embd": width, "n_layer": layers, "n_head": heads}


def _opt(hidden: int, layers: int, heads: int, inner: int, projected: int, norm_first: bool = True) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "ffn_dim": inner,
        "word_embed_proj_dim": projected,
        "do_layer_norm_before": norm_first,
    }


def _pythia(hidden: int, layers: int, heads: int, inner: int) -> dict[str, Any]:
    return _sizes(hidden, layers, heads, inner, vocab_size=50304, rotary_pct=0.25, max_position_embeddings=2048)


def _llama(
    hidden: int, layers: int, heads: int, inner: int, key_values: int, theta: float, context: int, **more: Any
) -> dict[str, Any]:
    extra = {"num_key_value_heads": key_values, "rope_theta": theta, "max_position_embeddings": context}
    return _sizes(hidden, layers, heads, inner, **extra, **more)


# Sizes are spelt out also where they are transformers' defaults: the record decides them, not a config.json at hand.
# (name, model type, place on the hub, licence, head keys, configuration, what else differs)
ROWS: tuple[tuple[str, str, str, str, Sequence[str], Mapping[str, Any], Mapping[str, Any]], ...] = (
    (
        "bert_base_uncased",
        "bert",
        "google-bert/bert-base-uncased",
        "apache-2.0",
        BERT_HEADS,
        _sizes(768, 12, 12, 3072),
        {},
    ),
    (
        "bert_base_cased",
        "bert",
        "google-bert/bert-base-cased",
        "apache-2.0",
        BERT_HEADS,
        _sizes(768, 12, 12, 3072, vocab_size=28996),
        {},
    ),
    (
        "bert_large_uncased",
        "bert",
        "google-bert/bert-large-uncased",
        "apache-2.0",
        BERT_HEADS,
        _sizes(1024, 24, 16, 4096),
        {},
    ),
    (
        "bert_large_cased",
        "bert",
        "google-bert/bert-large-cased",
        "apache-2.0",
        BERT_HEADS,
        _sizes(1024, 24, 16, 4096, vocab_size=28996),
        {},
    ),
    (
        "bert_base_multilingual_cased",
        "bert",
        "google-bert/bert-base-multilingual-cased",
        "apache-2.0",
        BERT_HEADS,
        _sizes(768, 12, 12, 3072, vocab_size=119547),
        {},
    ),
    ("bert_tiny", "bert", "google/bert_uncased_L-2_H-128_A-2", "apache-2.0", BERT_HEADS, _sizes(128, 2, 2, 512), {}),
    ("bert_mini", "bert", "google/bert_uncased_L-4_H-256_A-4", "apache-2.0", BERT_HEADS, _sizes(256, 4, 4, 1024), {}),
    ("bert_small", "bert", "google/bert_uncased_L-4_H-512_A-8", "apache-2.0", BERT_HEADS, _sizes(512, 4, 8, 2048), {}),
    ("bert_medium", "bert", "google/bert_uncased_L-8_H-512_A-8", "apache-2.0", BERT_HEADS, _sizes(512, 8, 8, 2048), {}),
    (
        "roberta_base",
        "roberta",
        "FacebookAI/roberta-base",
        "mit",
        ("lm_head", "pooler"),
        _roberta(768, 12, 12, 3072),
        {},
    ),
    (
        "roberta_large",
        "roberta",
        "FacebookAI/roberta-large",
        "mit",
        ("lm_head", "pooler"),
        _roberta(1024, 24, 16, 4096),
        {},
    ),
    (
        "xlm_roberta_base",
        "xlm-roberta",
        "FacebookAI/xlm-roberta-base",
        "mit",
        ("lm_head", "pooler"),
        _roberta(768, 12, 12, 3072, 250002),
        {},
    ),
    (
        "xlm_roberta_large",
        "xlm-roberta",
        "FacebookAI/xlm-roberta-large",
        "mit",
        ("lm_head", "pooler"),
        _roberta(1024, 24, 16, 4096, 250002),
        {},
    ),
    (
        "distilbert_base_uncased",
        "distilbert",
        "distilbert/distilbert-base-uncased",
        "apache-2.0",
        ("vocab_transform", "vocab_layer_norm", "vocab_projector"),
        DISTILBERT,
        {},
    ),
    (
        "distilbert_base_cased",
        "distilbert",
        "distilbert/distilbert-base-cased",
        "apache-2.0",
        ("vocab_transform", "vocab_layer_norm", "vocab_projector"),
        {**DISTILBERT, "vocab_size": 28996},
        {},
    ),
    (
        "distilroberta_base",
        "roberta",
        "distilbert/distilroberta-base",
        "apache-2.0",
        ("lm_head", "pooler"),
        _roberta(768, 6, 12, 3072),
        {},
    ),
    (
        "albert_base_v2",
        "albert",
        "albert/albert-base-v2",
        "apache-2.0",
        ("predictions", "sop_classifier", "pooler"),
        _sizes(
            768,
            12,
            12,
            3072,
            embedding_size=128,
            hidden_act="gelu_new",
            hidden_dropout_prob=0,
            attention_probs_dropout_prob=0,
            classifier_dropout_prob=0.1,
        ),
        {},
    ),
    *(
        (
            f"deberta_v3_{size}",
            "deberta-v2",
            f"microsoft/deberta-v3-{size}",
            "mit",
            ("lm_predictions", "mask_predictions"),
            _deberta(*sizes),
            {},
        )
        for size, sizes in {
            "xsmall": (384, 12, 6, 1536),
            "small": (768, 6, 12, 3072),
            "base": (768, 12, 12, 3072),
            "large": (1024, 24, 16, 4096),
        }.items()
    ),
    (
        "modernbert_base",
        "modernbert",
        "answerdotai/ModernBERT-base",
        "apache-2.0",
        ("head", "decoder"),
        _sizes(768, 22, 12, 1152),
        {},
    ),
    (
        "modernbert_large",
        "modernbert",
        "answerdotai/ModernBERT-large",
        "apache-2.0",
        ("head", "decoder"),
        _sizes(1024, 28, 16, 2624),
        {},
    ),
    *(
        (
            f"electra_{size}",
            "electra",
            f"google/electra-{size}-discriminator",
            "apache-2.0",
            ("discriminator_predictions",),
            config,
            {},
        )
        for size, config in {
            "small": _sizes(256, 12, 4, 1024, embedding_size=128),
            "base": _sizes(768, 12, 12, 3072, embedding_size=768),
            "large": _sizes(1024, 24, 16, 4096, embedding_size=1024),
        }.items()
    ),
    (
        "all-minilm-l6-v2",
        "bert",
        "sentence-transformers/all-MiniLM-L6-v2",
        "apache-2.0",
        ("pooler",),
        _sizes(384, 6, 12, 1536),
        {"length": 256, "package": True},
    ),
    (
        "all-minilm-l12-v2",
        "bert",
        "sentence-transformers/all-MiniLM-L12-v2",
        "apache-2.0",
        ("pooler",),
        _sizes(384, 12, 12, 1536),
        {"length": 128},
    ),
    (
        "all-mpnet-base-v2",
        "mpnet",
        "sentence-transformers/all-mpnet-base-v2",
        "apache-2.0",
        ("pooler",),
        _sizes(768, 12, 12, 3072, max_position_embeddings=514, layer_norm_eps=1e-5),
        {"length": 384},
    ),
    (
        "multi-qa-minilm-l6-cos-v1",
        "bert",
        "sentence-transformers/multi-qa-MiniLM-L6-cos-v1",
        "",
        ("pooler",),
        _sizes(384, 6, 12, 1536),
        {},
    ),
    (
        "paraphrase-multilingual-minilm-l12-v2",
        "bert",
        "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
        "apache-2.0",
        ("pooler",),
        _sizes(384, 12, 12, 1536, vocab_size=250037),
        {"length": 128},
    ),
    *(
        (f"bge_{size}_en_v1.5", "bert", f"BAAI/bge-{size}-en-v1.5", "mit", ("pooler",), config, {"pooling": "cls"})
        for size, config in {"small": _sizes(384, 12, 12, 1536), "base": _sizes(768, 12, 12, 3072)}.items()
    ),
    *(
        (f"e5_{size}_v2", "bert", f"intfloat/e5-{size}-v2", "mit", ("pooler",), config, {})
        for size, config in {"small": _sizes(384, 12, 12, 1536), "base": _sizes(768, 12, 12, 3072)}.items()
    ),
    *(
        (f"gte_{size}", "bert", f"thenlper/gte-{size}", "mit", ("pooler",), config, {})
        for size, config in {"small": _sizes(384, 12, 12, 1536), "base": _sizes(768, 12, 12, 3072)}.items()
    ),
    ("gpt2", "gpt2", "openai-community/gpt2", "mit", (), _gpt2(768, 12, 12), {}),
    ("gpt2_medium", "gpt2", "openai-community/gpt2-medium", "mit", (), _gpt2(1024, 24, 16), {}),
    ("gpt2_large", "gpt2", "openai-community/gpt2-large", "mit", (), _gpt2(1280, 36, 20), {}),
    ("gpt2_xl", "gpt2", "openai-community/gpt2-xl", "mit", (), _gpt2(1600, 48, 25), {}),
    ("distilgpt2", "gpt2", "distilbert/distilgpt2", "apache-2.0", (), _gpt2(768, 6, 12), {}),
    ("opt_125m", "opt", "facebook/opt-125m", "other", (), _opt(768, 12, 12, 3072, 768), {}),
    ("opt_350m", "opt", "facebook/opt-350m", "other", (), _opt(1024, 24, 16, 4096, 512, norm_first=False), {}),
    ("opt_1.3b", "opt", "facebook/opt-1.3b", "other", (), _opt(2048, 24, 32, 8192, 2048), {}),
    ("pythia_14m", "gpt_neox", "EleutherAI/pythia-14m", "apache-2.0", (), _pythia(128, 6, 4, 512), {}),
    ("pythia_70m", "gpt_neox", "EleutherAI/pythia-70m", "apache-2.0", (), _pythia(512, 6, 8, 2048), {}),
    ("pythia_160m", "gpt_neox", "EleutherAI/pythia-160m", "apache-2.0", (), _pythia(768, 12, 12, 3072), {}),
    ("pythia_410m", "gpt_neox", "EleutherAI/pythia-410m", "apache-2.0", (), _pythia(1024, 24, 16, 4096), {}),
    ("pythia_1b", "gpt_neox", "EleutherAI/pythia-1b", "apache-2.0", (), _pythia(2048, 16, 8, 8192), {}),
    (
        "smollm2_135m",
        "llama",
        "HuggingFaceTB/SmolLM2-135M",
        "apache-2.0",
        (),
        _llama(576, 30, 9, 1536, 3, 100000.0, 8192, vocab_size=49152, tie_word_embeddings=True, rms_norm_eps=1e-5),
        {},
    ),
    (
        "smollm2_360m",
        "llama",
        "HuggingFaceTB/SmolLM2-360M",
        "apache-2.0",
        (),
        _llama(960, 32, 15, 2560, 5, 100000.0, 8192, vocab_size=49152, tie_word_embeddings=True, rms_norm_eps=1e-5),
        {},
    ),
    (
        "tinyllama_1.1b_chat",
        "llama",
        "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
        "apache-2.0",
        (),
        _llama(2048, 22, 32, 5632, 4, 10000.0, 2048, vocab_size=32000, rms_norm_eps=1e-5),
        {},
    ),
    (
        "qwen2.5_0.5b",
        "qwen2",
        "Qwen/Qwen2.5-0.5B",
        "apache-2.0",
        (),
        _llama(896, 24, 14, 4864, 2, 1e6, 32768, vocab_size=151936, tie_word_embeddings=True),
        {},
    ),
    (
        "qwen3_0.6b_base",
        "qwen3",
        "Qwen/Qwen3-0.6B-Base",
        "apache-2.0",
        (),
        _llama(1024, 28, 16, 3072, 8, 1e6, 32768, vocab_size=151936, tie_word_embeddings=True, head_dim=128),
        {},
    ),
)


def generate() -> dict[str, Any]:
    """The catalogue."""
    models = []
    for name, kind, place, licence, heads, fields, more in ROWS:
        config = {"model_type": kind, **fields}
        spec = ModelSpec(name=name, builder="", pipeline="", input=InputSpec(modality="text"))
        with torch.device("meta"):
            backbone = build_transformer(spec, spec.input, config=config)
        models.append(
            {
                "name": name,
                "family": kind,
                "dim": backbone.dim,
                "params": sum(parameter.numel() for parameter in backbone.parameters()),
                "vocabulary": backbone.vocabulary,
                "context": backbone.context,
                "length": min(more.get("length", LENGTH), backbone.context or LENGTH),
                "pooling": more.get("pooling", backbone.pooling),
                "hub": place,
                "package": more.get("package", False),
                "license": licence,
                "head_keys": list(heads),
                "config": config,
            }
        )
    return {"schema_version": SCHEMA_VERSION, "models": sorted(models, key=lambda row: row["name"])}


def lines_of(catalogue: dict[str, Any]) -> Iterable[str]:
    """JSON with one model a line, so that a diff names what changed."""
    rows = ",\n".join(json.dumps(row, separators=(",", ":")) for row in catalogue["models"])
    yield f'{{"schema_version":{catalogue["schema_version"]},"models":[\n{rows}\n]}}\n'


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the committed file; exit 1 on drift")
    options = parser.parse_args(arguments)
    text = "".join(lines_of(generate()))
    return write_or_compare(FILE, text, options.check)


if __name__ == "__main__":
    sys.exit(main())
