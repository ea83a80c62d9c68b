"""Texts that belong together as one sample: anchor and positive, with or without a negative. B batch, K texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.groups import SEGMENT, encode_group, encode_groups, texts_of_group
from zoo.protocols import Batch
from zoo_text.pipeline import TextPipeline

VERSION = 1
_FACTOR = 6364136223846793005
"""Odd, so that multiplying by it loses nothing; the factor of Knuth's MMIX generator."""


def groups_view(pipeline: TextPipeline) -> GroupsPipeline:
    """See :class:`GroupsPipeline`."""
    return GroupsPipeline(pipeline)


class GroupsPipeline(TextPipeline):
    """Tuples of texts; a single text is a tuple of one. All items of a table have as many texts.

    ``decode`` gives int32 (n1 + n2 + ..., 3), see :mod:`zoo.groups`. ``prepare`` gives ``input_ids``,
    ``attention_mask`` and ``token_type_ids`` (zeros), each (B, K, longest text) int64, and ``text_key`` (B, K) int64:
    equal where, but for one chance in 2^60, texts have the same tokens.

    Args:
        pipeline: whose tokenizer and longest input hold for each text.
    """

    def __init__(self, pipeline: TextPipeline) -> None:
        super().__init__(pipeline.input)
        self.key = f"{pipeline.key}/groups/v{VERSION}"

    def decode(self, item: Any) -> np.ndarray:
        """A text or a tuple of texts as int32 (n, 3).

        Raises:
            DataError: neither, or a text is empty.
        """
        return encode_group(self.tokens, item)

    def decode_batch(self, items: Sequence[Any]) -> list[np.ndarray | Exception]:
        """:meth:`decode` of many items in parallel; the DataError in its place where one cannot be read."""
        return encode_groups(self.tokens, items)

    def count_cut(self, items: Iterable[Any]) -> int:
        """How many items have a text that loses tokens."""
        return sum(self.tokens.count_cut(texts_of_group(item)) > 0 for item in items)

    def prepare(self, batch: Batch) -> Batch:
        """``tokens`` (B, N, 3) and ``length`` (B,) -> the texts side by side; every other tensor is kept."""
        tokens, length = batch["tokens"].long(), batch["length"]
        place = torch.arange(tokens.shape[1], device=tokens.device)
        real = place < length[:, None]
        number = torch.where(real, tokens[..., SEGMENT], -1)
        count = 1 + int(number.max())
        each = F.one_hot(number + 1, count + 1)[..., 1:].sum(dim=1)  # (B, K) tokens of each text
        longest = int(each.max())
        start = each.cumsum(dim=1) - each
        inside = place - start.gather(1, number.clamp(min=0))
        # What is padding goes to one more place, which is cut off again.
        target = torch.where(real, number * longest + inside, count * longest)
        ids = tokens.new_full((len(tokens), count * longest + 1), self.special.filler)
        ids = ids.scatter(1, target, tokens[..., 0])[:, :-1].unflatten(1, (count, longest))
        mask = (torch.arange(longest, device=ids.device) < each[..., None]).long()
        rest = {name: value for name, value in batch.items() if name not in ("tokens", "length")}
        return {
            **rest,
            "input_ids": ids,
            "attention_mask": mask,
            "token_type_ids": torch.zeros_like(ids),
            "text_key": text_keys(ids, mask),
        }


def text_keys(ids: Tensor, mask: Tensor) -> Tensor:
    """A hash of each text's tokens, whatever its padding: (..., N) ids and mask -> (...) int64."""
    powers = torch.full_like(ids[(0,) * (ids.dim() - 1)], _FACTOR).cumprod(dim=0)
    terms = (ids + 1) * mask * powers
    # The products' low bits depend on low bits only; folding the high ones in mixes them.
    return (terms ^ (terms >> 29)).sum(dim=-1)
