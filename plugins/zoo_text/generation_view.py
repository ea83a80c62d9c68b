"""Texts to go on with: each token is guessed from those before it. B batch, N tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from zoo.decoding import frame
from zoo.protocols import IGNORE, Batch
from zoo.texts import CHANNELS, shares
from zoo_registry.errors import DataError
from zoo_text.pipeline import TextPipeline

VERSION = 1
SPACES = (" ", "\t", "\n")


def generation_view(pipeline: TextPipeline) -> GenerationPipeline:
    """See :class:`GenerationPipeline`."""
    return GenerationPipeline(pipeline)


class GenerationPipeline(TextPipeline):
    """A text, or a prompt and its completion, ended by the tokenizer's end-of-text token where nothing is cut.

    Prompt and completion are one text, with a space between where there is none, so that a prompt has the same tokens
    when it is later given alone. ``decode`` gives int32 (n, 3) of segment 1 where tokens count: all of a text, the
    completion of a prompt. ``prepare`` adds ``target`` (B, N): the token after each, where that one counts, else
    IGNORE.

    Args:
        pipeline: whose tokenizer and longest input hold.
    """

    def __init__(self, pipeline: TextPipeline) -> None:
        super().__init__(pipeline.input)
        self.key = f"{pipeline.key}/generation/v{VERSION}"
        self.begin, self.end = frame(self.tokens)

    def decode(self, item: Any) -> np.ndarray:
        """A text or a (prompt, completion) as int32 (n, 3). Of a text that is too long the end is cut; of a prompt the
        beginning, in the proportions of :func:`zoo.texts.shares`.

        Raises:
            DataError: neither, or a text is empty.
        """
        prompt, rest = self._split(item)
        kept = shares([len(prompt), len(rest)], self.max_length - len(self.begin) - len(self.end))
        whole = kept[1] == len(rest)
        prompt = prompt[len(prompt) - kept[0] :]
        body = [*rest[: kept[1]], *(self.end if whole else [])]
        ids = [*self.begin, *prompt, *body]
        array = np.zeros((len(ids), CHANNELS), np.int32)
        array[:, 0], array[:, 2] = ids, -1
        array[len(ids) - len(body) :, 1] = 1
        return array

    def decode_batch(self, items: Sequence[Any]) -> list[np.ndarray | Exception]:
        """:meth:`decode` of many items; the DataError in its place where one cannot be read."""
        return [self._attempt(item) for item in items]

    def count_cut(self, items: Iterable[Any]) -> int:
        """How many items lose tokens."""
        room = self.max_length - len(self.begin) - len(self.end)
        return sum(sum(map(len, self._split(item))) > room for item in items)

    def prepare(self, batch: Batch) -> Batch:
        """``tokens`` (B, N, 3) and ``length`` (B,) -> the network's inputs and ``target``; the rest is kept."""
        made = super().prepare(batch)
        ids, counts = made["input_ids"][:, 1:], made["token_type_ids"][:, 1:] == 1
        target = torch.nn.functional.pad(torch.where(counts, ids, IGNORE), (0, 1), value=IGNORE)
        return {**made, "target": target}

    def _split(self, item: Any) -> tuple[list[int], list[int]]:
        """Token ids of (what is given, what is to be guessed)."""
        if isinstance(item, str):
            return [], self.tokens.offsets(item)[0].tolist()
        if not (isinstance(item, tuple) and len(item) == 2 and all(isinstance(text, str) for text in item)):
            raise DataError(
                f"An item of type {type(item).__name__} is no text to go on from.", "Give a text, or prompt and answer."
            )
        prompt, completion = item
        if not prompt.strip() or not completion.strip():
            raise DataError("A prompt or its completion is empty.", "Remove the row, or fill it in.")
        if not (prompt.endswith(SPACES) or completion.startswith(SPACES)):
            completion = f" {completion}"
        ids, places = self.tokens.offsets(prompt + completion)
        # Tokens that reach over the boundary belong to the prompt.
        first = int(np.searchsorted(places[:, 0], len(prompt)))
        return ids[:first].tolist(), ids[first:].tolist()

    def _attempt(self, item: Any) -> np.ndarray | Exception:
        try:
            return self.decode(item)
        except DataError as error:
            return error
