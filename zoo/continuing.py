"""How a language model goes on from a prompt: the same steps with torch and with an export. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from zoo.console import say
from zoo.decoding import continuation, greedy, prompt_ids
from zoo.texts import TextTokenizer
from zoo_registry.errors import DataError

BATCH = 8
MAX_NEW_TOKENS = 50


class Continues(Protocol):
    """A trained language model; :class:`zoo.serve_model.OnnxModel` and :class:`zoo.torch_model.TorchModel`.

    Attributes:
        tokens: its tokenizer.
    """

    @property
    def tokens(self) -> TextTokenizer: ...

    def next_logits(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """See :data:`zoo.decoding.NextLogits`."""
        ...


def continue_texts(
    model: Continues, prompts: Sequence[str], max_new_tokens: int | None = None
) -> list[str | DataError]:
    """What follows each prompt by greedy decoding, up to the token that ends a text or ``max_new_tokens``; the error in
    its place where a prompt is no text. Of prompts that leave no room for new tokens the end is read, which is said.

    Args:
        max_new_tokens: None: :data:`MAX_NEW_TOKENS`, or half of what the model takes where that is less.

    Raises:
        UsageError: ``max_new_tokens`` alone fill the longest input.
    """
    if max_new_tokens is None:
        max_new_tokens = min(MAX_NEW_TOKENS, model.tokens.max_length // 2)
    found: list[str | DataError] = []
    cut = 0
    for start in range(0, len(prompts), BATCH):
        read = [_read(model, prompt, max_new_tokens) for prompt in prompts[start : start + BATCH]]
        ids = [one[0] for one in read if not isinstance(one, DataError)]
        new = iter(greedy(model.next_logits, ids, model.tokens.special.eos, max_new_tokens))
        for one in read:
            if isinstance(one, DataError):
                found.append(one)
                continue
            found.append(continuation(model.tokens, one[0], next(new)))
            cut += one[1]
    if cut:
        room = f"the model's {model.tokens.max_length} tokens with {max_new_tokens} new ones"
        say(f"{cut:,} of {len(prompts):,} prompts are too long for {room}; their end was read")
    return found


def _read(model: Continues, prompt: str, max_new_tokens: int) -> tuple[list[int], bool] | DataError:
    """(token ids of a prompt as the model reads it, whether its beginning was cut)."""
    if not isinstance(prompt, str):
        return DataError("A prompt is one text.", "Give a text.")
    try:
        ids = prompt_ids(model.tokens, prompt, max_new_tokens)
        return ids, len(model.tokens.offsets(prompt)[0]) > len(ids)
    except DataError as error:
        return error
