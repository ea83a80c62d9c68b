"""What the token-level heads see of a text pipeline: words of plain texts, windows of long contexts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data.dataset import Table
from zoo.protocols import Batch, Draws
from zoo.windows import VERSION, decode_window, question_room, window_rows
from zoo.words import as_words
from zoo_registry.errors import DataError
from zoo_text.pipeline import TextPipeline


class TextView:
    """A :class:`TextPipeline` whose items are other ones; also Portable.

    Args:
        pipeline: of the modality.
    """

    def __init__(self, pipeline: TextPipeline) -> None:
        self.pipeline = pipeline
        self.modality, self.input_name = pipeline.modality, pipeline.input_name
        self.key, self.shape, self.dtype = pipeline.key, pipeline.shape, pipeline.dtype
        self.input, self.tokens, self.tokenizer = pipeline.input, pipeline.tokens, pipeline.tokenizer
        self.special, self.max_length = pipeline.special, pipeline.max_length

    def prepare(self, batch: Batch) -> Batch:
        """As :class:`TextPipeline`."""
        return self.pipeline.prepare(batch)

    def augment(self, batch: Batch, draws: Draws) -> Batch:
        """As :class:`TextPipeline`."""
        return self.pipeline.augment(batch, draws)

    def describe(self) -> dict[str, Any]:
        """As :class:`TextPipeline`; the task tells the view."""
        return self.pipeline.describe()

    def save_assets(self, folder: Path) -> None:
        """As :class:`TextPipeline`."""
        self.pipeline.save_assets(folder)


class WordView(TextView):
    """Sentences for tagging: lists of words; a plain text is split into words (:mod:`zoo.words`)."""

    def decode(self, item: Any) -> np.ndarray:
        """int32 (n, 3), the third channel the place of a word in the list at its first token.

        Raises:
            DataError: no text, or an empty one.
        """
        return self.pipeline.decode(as_words(item))

    def decode_batch(self, items: Sequence[Any]) -> list[np.ndarray | Exception]:
        """:meth:`decode` of many; the DataError in its place where one cannot be read."""
        return self.pipeline.decode_batch([as_words(item) for item in items])

    def count_cut(self, items: Iterable[Any]) -> int:
        """How many items lose tokens to ``max_length``."""
        return self.pipeline.count_cut(as_words(item) for item in items)


class WindowView(TextView):
    """Questions with their contexts as windows (:mod:`zoo.windows`).

    Raises:
        UsageError: the longest input leaves no room for the context.
    """

    def __init__(self, pipeline: TextPipeline) -> None:
        super().__init__(pipeline)
        question_room(pipeline.tokens)
        self.key = f"{pipeline.key}/windows/v{VERSION}"

    def rows(self, table: Table) -> Table:
        """See :func:`zoo.windows.window_rows`."""
        return window_rows(table, self.tokens)

    def decode(self, item: Any) -> np.ndarray:
        """A :class:`zoo.windows.Window` as int32 (n, 3), the third channel the number of a token in the whole context,
        -1 on others.

        Raises:
            DataError: no question with a context, or one without text.
        """
        return decode_window(item)

    def decode_batch(self, items: Sequence[Any]) -> list[np.ndarray | Exception]:
        """:meth:`decode` of many; the DataError in its place where one cannot be read."""
        return [_attempt(item) for item in items]


def word_view(pipeline: TextPipeline) -> WordView:
    """The view of the token classification head."""
    return WordView(pipeline)


def qa_view(pipeline: TextPipeline) -> WindowView:
    """The view of the question answering head; errors as :class:`WindowView`."""
    return WindowView(pipeline)


def _attempt(item: Any) -> np.ndarray | Exception:
    try:
        return decode_window(item)
    except DataError as error:
        return error
