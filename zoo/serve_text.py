"""Texts for an export without torch: the bundle's tokenizer in front of the session, batches of like lengths, and one
answer a token cut to each text's length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data.dataset import Table
from zoo.groups import encode_group, split_group, texts_of_group
from zoo.texts import TextTokenizer, from_description
from zoo.windows import decode_window, window_rows
from zoo.words import as_words

BATCH = 8
"""Texts that go through a session at once: more of them wait for the longest."""

Run = Callable[[dict[str, np.ndarray]], list[np.ndarray]]
"""An onnxruntime session: inputs by name to its outputs."""


class TextInput:
    """How an export reads texts.

    Args:
        folder: the export, which holds the tokenizer.
        meta: its ``model.json``.
        names: the inputs that the graph takes, out of ``input_ids``, ``attention_mask`` and ``token_type_ids``.

    Raises:
        DataError: ``meta`` describes no text preprocessing that this zoo knows.
        WeightsError: the tokenizer is missing, broken or another one.
    """

    def __init__(self, folder: Path, meta: dict[str, Any], names: Sequence[str]) -> None:
        self.task: str = meta["task"]
        self.names = tuple(names)
        self.tokens: TextTokenizer = from_description(meta["preprocessing"], folder)
        # Dynamic int8 scales a batch by its largest value, and a text's answer must not hang on its neighbours.
        self.batch = 1 if meta.get("precision") == "int8" else BATCH

    def rows(self, table: Table) -> Table:
        """The samples of a table of texts: each its own, or its windows where answers are looked for in long texts."""
        if self.task == "question-answering":
            return window_rows(table, self.tokens)
        return Table({**table.columns, "owner": list(range(len(table)))})

    def decode(self, item: Any) -> np.ndarray:
        """One item as int32 (n, 3), see :mod:`zoo.texts`: a window of a question's context, the words of a sentence, or
        for embeddings all texts of a tuple, one after another.

        Raises:
            DataError: no text, or an empty one.
        """
        if self.task == "question-answering":
            return decode_window(item)
        if self.task == "token-classification":
            return self.tokens.encode(as_words(item))
        if self.task == "embedding":
            return encode_group(self.tokens, item)
        return self.tokens.encode(item)

    def count_cut(self, items: Iterable[Any]) -> int:
        """How many items lose tokens to the longest input; of questions none do, they are read in windows."""
        if self.task == "question-answering":
            return 0
        if self.task == "embedding":
            return sum(self.tokens.count_cut(texts_of_group(item)) > 0 for item in items)
        return self.tokens.count_cut(as_words(item) if self.task == "token-classification" else item for item in items)

    def parts(self, array: np.ndarray) -> list[np.ndarray]:
        """What goes through the network of a decoded item: itself, or each of the texts that belong together."""
        return split_group(array) if self.task == "embedding" else [array]

    def feed(self, arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Decoded texts as the graph's inputs, each (B, longest) int64."""
        inputs = self.tokens.model_inputs(arrays)
        return {name: inputs[name] for name in self.names}

    def run(self, session: Run, arrays: Sequence[np.ndarray], *, token_level: bool) -> list[list[np.ndarray]]:
        """What the session makes of decoded items, a list for each of its outputs, in the order given; for embeddings
        (K, D), a row for each of an item's texts."""
        if self.task != "embedding":
            return self._run(session, arrays, token_level)
        texts = [self.parts(array) for array in arrays]
        ends = np.cumsum([len(one) for one in texts])
        outputs = self._run(session, [text for one in texts for text in one], token_level)
        return [np.split(np.stack(output), ends[:-1]) for output in outputs]

    def _run(self, session: Run, arrays: Sequence[np.ndarray], token_level: bool) -> list[list[np.ndarray]]:
        order = sorted(range(len(arrays)), key=lambda row: len(arrays[row]))
        found: dict[int, list[np.ndarray]] = {}
        for start in range(0, len(order), self.batch):
            rows = order[start : start + self.batch]
            outputs = session(self.feed([arrays[row] for row in rows]))
            for place, row in enumerate(rows):
                found[row] = [one[place, : len(arrays[row])] if token_level else one[place] for one in outputs]
        return [list(output) for output in zip(*(found[row] for row in range(len(arrays))), strict=True)]
