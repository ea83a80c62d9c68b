"""A tag for each word. B batch, N tokens, W words, D embedding width, C tags."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.counts import Counts
from zoo.entities import count, scheme_of
from zoo.protocols import IGNORE, Batch, Features, Metrics
from zoo_registry.errors import DataError, PluginError

INIT_STD = 0.01


class TokenClassificationHead(nn.Module):
    """A linear layer on every token, read at the first token of each word (Devlin et al., "BERT", 2019). ``forward``
    (B, N, D) -> logits (B, N, C).

    Args:
        dim: D.
        labels: tags in id order.
        dropout: on the tokens.

    Raises:
        DataError: fewer than two tags.
    """

    task = "token-classification"
    uses = ("tokens",)

    def __init__(self, dim: int, labels: tuple[str, ...], *, dropout: float = 0.0) -> None:
        super().__init__()
        if len(labels) < 2:
            raise DataError(f"Tagging needs two tags or more, but the data has {len(labels)}.", "Add another tag.")
        self.labels = tuple(labels)
        self.monitor = ("f1" if scheme_of(self.labels) else "accuracy", "max")
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(dim, len(labels))
        nn.init.trunc_normal_(self.linear.weight, std=INIT_STD)
        nn.init.zeros_(self.linear.bias)

    def forward(self, features: Features) -> Tensor:
        return self.linear(self.dropout(tokens_of(features)))

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross entropy summed over words, and their number. ``batch["label"]`` (B, W) tag ids, IGNORE on padding;
        ``batch["word"]`` (B, N) a word's index at its first token, -1 elsewhere. A word cut off costs nothing."""
        word, label = batch["word"], batch["label"]
        known = (word >= 0) & (word < label.shape[1])
        target = label.gather(1, torch.where(known, word, 0)).masked_fill(~known, IGNORE)
        total = F.cross_entropy(logits.float().flatten(0, 1), target.flatten(), ignore_index=IGNORE, reduction="sum")
        return total, (target != IGNORE).sum().float()

    def decode(self, logits: Tensor, batch: Batch | None = None) -> dict[str, Tensor]:
        """``scores`` (B, N, C) probabilities, ``label`` (B, N) tag ids; of interest where a word begins."""
        return {"scores": logits.float().softmax(dim=-1), "label": logits.argmax(dim=-1)}

    def metrics(self) -> Metrics:
        return TokenMetrics(self.labels)


class TokenMetrics:
    """Streaming micro F1, precision and recall of entities, with both ends and type right, as the conlleval script of
    the CoNLL shared tasks; and accuracy over words. For tags that name no entities: accuracy, and F1 averaged over the
    tags that occur. A word without a token, cut off, counts as ``O``; as wrong where there is no such tag.

    Args:
        labels: tags in id order.
    """

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.scheme = scheme_of(labels)
        self.classes = len(labels)
        self.words = Counts(self.classes, 3)  # right, given, wanted
        self.entities = Counts(3)

    def update(self, logits: Tensor, batch: Batch) -> None:
        """logits (B, N, C); ``batch`` as in the loss."""
        given, wanted, lengths = chosen_tags(logits, batch, self.scheme.outside if self.scheme else -1)
        columns = (given[given == wanted], given[given >= 0], wanted)
        counts = [np.bincount(ids, minlength=self.classes) for ids in columns]
        self.words.add(torch.from_numpy(np.stack(counts, axis=1)))
        if self.scheme:
            self.entities.add(torch.from_numpy(count(given, wanted, lengths, self.scheme).sum(axis=(0, 1))))

    def compute(self) -> dict[str, float]:
        right, given, wanted = self.words.total().unbind(dim=1)
        accuracy = float(right.sum() / wanted.sum().clamp(min=1))
        if self.scheme is None:
            seen = given + wanted > 0
            f1 = 2 * right[seen] / (given + wanted)[seen]
            return {"accuracy": accuracy, "macro_f1": float(f1.mean()) if len(f1) else 0.0}
        hits, found, real = self.entities.total().tolist()
        return {
            "f1": 2 * hits / max(found + real, 1),
            "precision": hits / max(found, 1),
            "recall": hits / max(real, 1),
            "accuracy": accuracy,
        }

    def reset(self) -> None:
        self.words.reset()
        self.entities.reset()

    def to(self, device: torch.device) -> TokenMetrics:
        self.words.to(device)
        self.entities.to(device)
        return self


def chosen_tags(logits: Tensor, batch: Batch, outside: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(given, wanted) tags of all words of a batch, one after another, and the number of words of each sentence.

    Args:
        outside: given to words that have no token.
    """
    label, word = batch["label"], batch["word"]
    known = (word >= 0) & (word < label.shape[1])
    # One column more takes what belongs to no word.
    given = torch.full((len(label), label.shape[1] + 1), outside, dtype=torch.long, device=label.device)
    given.scatter_(1, torch.where(known, word, label.shape[1]), logits.argmax(dim=-1))
    real = label != IGNORE
    parts = given[:, :-1][real], label[real], real.sum(dim=1)
    given_, wanted, lengths = (part.cpu().numpy() for part in parts)
    return given_, wanted, lengths


def tokens_of(features: Features) -> Tensor:
    """(B, N, D), which every head that reads tokens needs.

    Raises:
        PluginError: the backbone gives none.
    """
    if features.tokens is None:
        raise PluginError("The backbone gives no tokens.", "Its spec must not list the layout tokens; report it.")
    return features.tokens
