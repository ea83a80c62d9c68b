"""What the objectives' views over texts share: the tokenizer's kinds of tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from zoo_registry.errors import UsageError


class Resident:
    """A constant table that is copied to each device once: every copy makes the host wait."""

    def __init__(self, table: Tensor) -> None:
        self.copies = {table.device: table}

    def on(self, device: torch.device) -> Tensor:
        """The table on a device."""
        if device not in self.copies:
            self.copies[device] = next(iter(self.copies.values())).to(device)
        return self.copies[device]


class Vocabulary:
    """Which ids of a pipeline's tokenizer are special, and which are words or pieces of them.

    Attributes:
        mask: id of the mask token, or None.
    """

    def __init__(self, pipeline: Any) -> None:
        self.mask: int | None = pipeline.special.mask
        known = pipeline.tokenizer.get_vocab(with_added_tokens=True).values()
        special = torch.zeros(1 + max(known), dtype=torch.bool)
        special[pipeline.special.ids] = True
        self._special = Resident(special)
        self._ordinary = Resident(torch.tensor(sorted(set(known) - set(pipeline.special.ids)), dtype=torch.int64))

    def is_special(self, ids: Tensor) -> Tensor:
        """Bool in the shape of ids."""
        return self._special.on(ids.device)[ids]

    def pick(self, uniform: Tensor) -> Tensor:
        """Ordinary ids, each as likely, int64 in the shape of numbers from [0, 1)."""
        table = self._ordinary.on(uniform.device)
        return table[(uniform * len(table)).long().clamp(max=len(table) - 1)]

    def need_mask(self, objective: str) -> int:
        """The id of the mask token.

        Raises:
            UsageError: the tokenizer has none.
        """
        if self.mask is None:
            raise UsageError(
                f"The objective {objective} needs a mask token, which this model's tokenizer lacks.",
                "Choose --objective causal, or a model such as bert_base_uncased.",
            )
        return self.mask
