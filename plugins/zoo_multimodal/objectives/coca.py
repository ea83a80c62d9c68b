"""Matching and captioning in one (Yu et al., "CoCa: contrastive captioners are image-text foundation models", 2022),
with open_clip's module. B pairs, N of the whole batch, T tokens, V of the vocabulary, D width of the shared space.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.objectives import read_options
from zoo.pairs import side_of
from zoo.protocols import Batch
from zoo_multimodal.objectives.clip import matching_loss
from zoo_multimodal.objectives.contrastive import ContrastiveOptions, ContrastiveTask
from zoo_registry.errors import UsageError


@dataclass(frozen=True)
class CocaOptions(ContrastiveOptions):
    """Settings of the objective.

    Attributes:
        caption: weight of the captioning loss, that of matching being 1; 2 in the paper.
    """

    caption: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.caption > 0:
            raise UsageError(
                f"caption is {self.caption}, which is no weight.", "Without captions use --objective clip."
            )


def build_coca(backbone: Any, pipeline: Any, config: Any) -> CocaTask:
    """See :class:`CocaTask`.

    Raises:
        UsageError: the backbone writes no captions.
    """
    if not hasattr(backbone.module, "text_decoder"):
        raise UsageError(
            f"{backbone.spec.name} has no decoder that writes captions.", "Choose a CoCa model: zoo list coca"
        )
    return CocaTask(backbone, read_options(CocaOptions, config))


class CocaTask(ContrastiveTask):
    """Loss per pair: that of :class:`zoo_multimodal.objectives.clip.ClipTask`, and ``caption`` times the mean cross
    entropy of the next token over all tokens of the batch, in nats.

    A pair's vector is its two unit vectors end to end, the summed loss of its caption and the number of its tokens: so
    the mean over the tokens of all micro-batches and processes is exact as well.
    """

    options: CocaOptions

    def vectors(self, batch: Batch) -> Tensor:
        """(B, 2 D + 2)."""
        tower = self.backbone.towers["text"]
        text = side_of(batch, "text")
        ids = tower.padded(text["input_ids"], text.get("attention_mask"))
        out = self.backbone.module(side_of(batch, "image")["image"], ids)
        loss, tokens = caption_loss(out["logits"], out["labels"], tower.pad)
        return torch.cat(
            [out["image_features"].float(), out["text_features"].float(), loss[:, None], tokens[:, None]], 1
        )

    def outputs(self, batch: Batch, vectors: Tensor) -> Tensor | None:
        return pairs_of(vectors)

    def compare(self, vectors: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        pairs, (summed, tokens) = pairs_of(vectors), vectors[:, -2:].sum(dim=0)
        caption = summed / tokens.clamp(min=1)
        matching = matching_loss(self.similarities(pairs))
        loss, count, logs = self.counted(matching + self.options.caption * caption * len(vectors), vectors)
        return loss, count, {**logs, "matching_loss": matching.detach() / count, "caption_loss": caption.detach()}


def pairs_of(vectors: Tensor) -> Tensor:
    """(N, 2 D + 2) -> the (N, 2, D) unit vectors among them."""
    return vectors[:, :-2].unflatten(1, (2, -1))


def caption_loss(logits: Tensor, labels: Tensor, pad: int) -> tuple[Tensor, Tensor]:
    """(B, T, V) and (B, T) -> (B,) cross entropy summed over the tokens of each caption, and (B,) their number."""
    losses = F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=pad, reduction="none")
    return losses.view_as(labels).sum(dim=1), (labels != pad).sum(dim=1).float()
