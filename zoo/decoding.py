"""Texts that go on: prompts to ids, greedy decoding over any function that tells the next token's logits, ids back to
text. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from zoo_registry.errors import UsageError

if TYPE_CHECKING:
    from zoo.texts import TextTokenizer

NextLogits = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(input_ids (B, N) int64 padded at the end with zeros, attention_mask (B, N) int64) -> (B, V) logits of what follows
each row's last real token."""


def greedy(
    next_logits: NextLogits,
    prompts_ids: Sequence[Sequence[int]],
    eos: int | None,
    max_new_tokens: int,
    context: int | None = None,
) -> list[list[int]]:
    """Continue each prompt by the likeliest token, the lowest id of equals, again and again.

    Each step is a forward pass over everything so far, so a row costs the square of its length; rows that have ended
    take no part.

    Args:
        prompts_ids: token ids of each prompt, at least one.
        eos: the token that ends a text, left out of the result; None: there is none.
        max_new_tokens: most tokens to add to each.
        context: most tokens that the model can see; a row that fills it ends. None: no limit.

    Returns:
        the new ids of each prompt, in order.

    Raises:
        UsageError: an empty prompt, or one that fills the context.
    """
    rows = [list(map(int, prompt)) for prompt in prompts_ids]
    for row in rows:
        if not row:
            raise UsageError("A prompt holds no tokens.", "Give at least one word to go on from.")
        if context is not None and len(row) >= context:
            raise UsageError(
                f"A prompt of {len(row)} tokens leaves no room in a context of {context}.", "Give a shorter prompt."
            )
    starts = [len(row) for row in rows]
    going = list(range(len(rows)))
    for _ in range(max_new_tokens):
        if not going:
            break
        longest = max(len(rows[place]) for place in going)
        ids = np.zeros((len(going), longest), np.int64)
        mask = np.zeros_like(ids)
        for line, place in enumerate(going):
            ids[line, : len(rows[place])] = rows[place]
            mask[line, : len(rows[place])] = 1
        chosen = np.asarray(next_logits(ids, mask)).argmax(axis=-1)
        ended = set()
        for token, place in zip(chosen.tolist(), going, strict=True):
            if token == eos:
                ended.add(place)
                continue
            rows[place].append(token)
            if context is not None and len(rows[place]) >= context:
                ended.add(place)
        going = [place for place in going if place not in ended]
    return [row[start:] for row, start in zip(rows, starts, strict=True)]


def prompt_ids(tokens: TextTokenizer, prompt: str, max_new_tokens: int = 0) -> list[int]:
    """A prompt as a causal model reads it: the tokens that a text begins with, and the prompt's own, of which only the
    last are kept where the longest input leaves no room for them and ``max_new_tokens`` more.

    Raises:
        DataError: no text, or an empty one.
        UsageError: ``max_new_tokens`` alone fill the longest input.
    """
    begin, _ = frame(tokens)
    room = tokens.max_length - len(begin) - max_new_tokens
    if room < 1:
        raise UsageError(
            f"{max_new_tokens} new tokens leave no room for a prompt: the model takes {tokens.max_length} in all.",
            "Give a smaller --max-new-tokens.",
        )
    ids, _ = tokens.offsets(prompt)
    return [*begin, *ids[-room:].tolist()]


def continuation(tokens: TextTokenizer, prompt: Sequence[int], new: Sequence[int]) -> str:
    """The text that ``new`` ids add to the prompt's, special tokens left out."""
    before = tokens.tokenizer.decode(list(prompt), skip_special_tokens=True)
    after = tokens.tokenizer.decode([*prompt, *new], skip_special_tokens=True)
    # Only in its context does a tokenizer tell whether a word begins with a space.
    return after[len(before) :] if after.startswith(before) else tokens.tokenizer.decode(list(new))


def frame(tokens: TextTokenizer) -> tuple[list[int], list[int]]:
    """The special tokens (before, behind) a text: the tokenizer's own, and eos at the end where it knows one."""
    encoding = tokens.tokenizer.encode("a")
    special = encoding.special_tokens_mask
    first, last = special.index(0), len(special) - special[::-1].index(0)
    begin, end = encoding.ids[:first], encoding.ids[last:]
    eos = tokens.special.eos
    return begin, end if eos is None or eos in end else [*end, eos]
