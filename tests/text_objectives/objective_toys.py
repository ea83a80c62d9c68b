"""Tiny texts, a pipeline over them, backbones with tens of units, and batches as the engine makes them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from zoo.data.draws import HashDraws
from zoo.protocols import Batch, Features
from zoo_registry.specs import InputSpec
from zoo_text.encoder import build_encoder
from zoo_text.pipeline import TextPipeline, text_pipeline
from zoo_text.recurrent import build_recurrent
from zoo_text.scratch_list import SCRATCH_MODELS
from zoo_text.token_backbone import TokenBackbone
from zoo_text.tokenizer_training import fit_tokenizer

SPECS = {spec.name: spec for spec in SCRATCH_MODELS}
NOUNS = ("harbour", "mountain", "lantern", "orchard", "violin", "glacier", "kitchen", "sparrow")
VERBS = ("remembers", "follows", "colours", "outshines", "undermines", "surrounds")
TEXTS = [
    f"the {NOUNS[i % 8]} {VERBS[i % 6]} a {NOUNS[(3 * i + 1) % 8]}" + f" and the {NOUNS[i % 5]} too" * (i % 4)
    for i in range(48)
]


def pipeline(length: int = 32, vocabulary: int = 60, kind: str = "wordpiece") -> TextPipeline:
    return text_pipeline(
        fit_tokenizer(InputSpec(modality="text", size=(length,)), TEXTS, vocabulary=vocabulary, kind=kind)
    )


def backbone(made: TextPipeline, name: str = "transformer", **options: Any) -> TokenBackbone:
    torch.manual_seed(0)
    if name == "transformer":
        return build_encoder(SPECS[name], made.input, **{"dim": 16, "layers": 2, "heads": 2, "dropout": 0.0, **options})
    small = {"cell": name, "embedding": 12, "dim": 10, "dropout": 0.0, "embedding_dropout": 0.0}
    return build_recurrent(SPECS[name], made.input, **{**small, **options})


def batch_of(made: TextPipeline, texts: list[Any], first: int = 0) -> Batch:
    """What a ragged store gives: tokens (B, N, 3) padded with zeros, their length, and their row."""
    decoded = [torch.from_numpy(made.decode(text)) for text in texts]
    return {
        "tokens": torch.nn.utils.rnn.pad_sequence(decoded, batch_first=True),
        "length": torch.tensor([len(one) for one in decoded]),
        "index": torch.arange(first, first + len(texts)),
    }


def take(batch: Batch, rows: slice) -> Batch:
    """Rows of a batch, cut to the longest of them as a micro-batch of its own would be."""
    piece = {name: tensor[rows] for name, tensor in batch.items()}
    return {**piece, "tokens": piece["tokens"][:, : int(piece["length"].max())]} if "length" in piece else piece


def config(**options: Any) -> Any:
    return SimpleNamespace(seed=7, options=options)


def draws(batch: Batch, epoch: int = 0) -> HashDraws:
    return HashDraws(7, epoch, batch["index"])


def folder_bytes(folder: str | Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


class TinyCausal(nn.Module):
    """A causal language model of one GRU, its output tied to its input."""

    causal = True
    dim = 12

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.vocabulary, self.trained = vocabulary, False
        self.spec = SimpleNamespace(name="tiny")
        self.embedding, self.rnn = nn.Embedding(vocabulary, 12), nn.GRU(12, 12, batch_first=True)

    def forward(self, batch: Batch, layouts: Any = ("pooled",)) -> Features:
        tokens: Tensor = self.rnn(self.embedding(batch["input_ids"]))[0]
        lm = tokens @ self.embedding.weight.T if "lm" in layouts else None
        return Features(pooled=tokens[:, -1], tokens=tokens, lm=lm)

    def input_embedding(self) -> nn.Embedding:
        return self.embedding

    def train_output_layer(self) -> None:
        self.trained = True

    def layer_groups(self) -> Any:
        return [("all", list(self.named_parameters()))]
