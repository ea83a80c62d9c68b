"""Finished runs on texts made without training: a tiny random BERT or GPT-2 and a tokenizer of a few words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

import zoo
from zoo.config import FinetuneConfig
from zoo.data.sources import load_dataset
from zoo.run import Run, start_run, versions
from zoo.tasks import SupervisedTask
from zoo.trained import build_head, input_dict, pipeline_for, save_trained
from zoo.weights import load_backbone

WORDS = "the a film food place was is very not good bad warm cold fine dull ann bob paris rome who where in to from ?"
HEADS = {
    "classification": "core/classification",
    "multi-label": "core/multi-label",
    "regression": "core/regression",
    "token-classification": "text/token-classification",
    "question-answering": "text/question-answering",
    "embedding": "text/embedding",
    "generation": "text/generation",
}


def write_tokenizer(folder: Path, *, causal: bool = False) -> None:
    """Whole words, a few endings and letters; BERT's template, or none."""
    letters = [letter for one in "abcdefghijklmnopqrstuvwxyz" for letter in (one, f"##{one}")]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[EOS]"]
    names = dict.fromkeys([*special, *WORDS.split(), "##ly", "##er", *letters, ".", ",", "!"])
    tokenizer = Tokenizer(models.WordPiece({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if not causal:
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_special_tokens(special)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))


def write_model(folder: Path, *, causal: bool = False, length: int = 64) -> Path:
    """A random network of transformers with its tokenizer, as the hub would hold it."""
    write_tokenizer(folder, causal=causal)
    size = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size()
    torch.manual_seed(0)
    if causal:
        config: Any = transformers.GPT2Config(
            vocab_size=size, n_embd=32, n_layer=2, n_head=2, n_positions=length, bos_token_id=5, eos_token_id=5
        )
        module: Any = transformers.GPT2LMHeadModel(config)
    else:
        config = transformers.BertConfig(
            vocab_size=size,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=length,
        )
        module = transformers.BertModel(config, add_pooling_layer=False)
    with torch.no_grad():  # so that attention and position matter more than in a fresh network
        for name, parameter in module.named_parameters():
            if parameter.dim() > 1 and "LayerNorm" not in name:
                parameter.mul_(6.0)
    (folder / "config.json").write_text(json.dumps({**config.to_dict(), "architectures": [type(module).__name__]}))
    state = {name: tensor.clone().contiguous() for name, tensor in module.state_dict().items()}
    if causal:
        del state["lm_head.weight"]  # tied
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def finish_run(folder: Path, model: Path, data: Path, task: str, **options: Any) -> Path:
    """A run folder as ``zoo finetune`` leaves it, with a random head of large weights."""
    registry = zoo.default_registry()
    config = FinetuneConfig(model=f"hf:{model}", data=str(data), task=task, **options)
    loaded = load_backbone(config.model, registry=registry, max_length=config.max_length)
    dataset = load_dataset(str(data), registry=registry, modality="text", task=task, seed=config.seed)
    head_name = HEADS[task]
    torch.manual_seed(1)
    whole = SupervisedTask(loaded.backbone, build_head(head_name, loaded.backbone.dim, dataset.labels, registry))
    with torch.no_grad():
        for parameter in whole.head.parameters():  # type: ignore[attr-defined]
            parameter.normal_(std=0.3)
    pipeline = pipeline_for(loaded.model_id, loaded.input, registry, registry.head(head_name).id)
    (folder / "model").mkdir(parents=True)
    manifest = {"model_id": loaded.model_id, "data": {"name": dataset.name, "fingerprint": dataset.fingerprint}}
    run = Run(folder, config.model_dump(), manifest)
    start_run(run)
    meta = {
        "model_id": loaded.model_id,
        "weights_id": loaded.weights_id,
        "weights_sha256": loaded.sha256,
        "plugin": loaded.plugin,
        "plugin_version": loaded.plugin_version,
        "head": registry.head(head_name).id,
        "task": dataset.task,
        "labels": list(dataset.labels),
        "input": {**input_dict(loaded.input), "assets": ""},
        "input_name": pipeline.input_name,
        "preprocessing": pipeline.describe(),
        "versions": versions(),
        "metrics": {},
        "data": {"name": dataset.name, "origin": dataset.origin, "fingerprint": dataset.fingerprint},
    }
    pipeline.save_assets(run.path / "model")  # type: ignore[attr-defined]
    save_trained(run.path / "model", {"backbone": whole.backbone.module, "head": whole.head}, meta)
    run.update_manifest(status="finished")
    return run.path
