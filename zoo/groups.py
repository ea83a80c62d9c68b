"""Texts that belong together (an anchor, its positive, a negative), each encoded by itself. Imports no torch.

A group is one int32 array (n1 + n2 + ..., 3): the arrays of its texts (:mod:`zoo.texts`) one after another, the channel
of segments holding the number of the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from zoo.texts import TextTokenizer
from zoo_registry.errors import DataError

SEGMENT = 1
"""Channel of the text's number."""


def texts_of_group(item: Any) -> tuple[str, ...]:
    """The texts of a tuple; a single one of a string.

    Raises:
        DataError: neither.
    """
    if isinstance(item, str):
        return (item,)
    if isinstance(item, tuple) and item and all(isinstance(text, str) for text in item):
        return item
    raise DataError(
        f"An item of type {type(item).__name__} is no text and no group of texts.",
        "Give a text, or a tuple of texts that belong together.",
    )


def encode_group(tokens: TextTokenizer, item: Any) -> np.ndarray:
    """A text or a tuple of texts as a group, each text cut to the longest input.

    Raises:
        DataError: it is neither, or a text is empty.
    """
    return join_group([tokens.encode(text) for text in texts_of_group(item)])


def encode_groups(tokens: TextTokenizer, items: Sequence[Any]) -> list[np.ndarray | Exception]:
    """:func:`encode_group` of many items in parallel; the DataError in its place where one cannot be read."""
    found: list[np.ndarray | Exception] = []
    flat: list[str] = []
    spans: list[slice | DataError] = []
    for item in items:
        try:
            texts = texts_of_group(item)
        except DataError as error:
            spans.append(error)
            continue
        spans.append(slice(len(flat), len(flat) + len(texts)))
        flat += texts
    encoded = tokens.encode_batch(flat)
    for span in spans:
        if isinstance(span, DataError):
            found.append(span)
            continue
        arrays = [one for one in encoded[span] if not isinstance(one, DataError)]
        bad = next((one for one in encoded[span] if isinstance(one, DataError)), None)
        found.append(bad or join_group(arrays))
    return found


def join_group(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Texts' arrays (n_i, 3) as one group."""
    group = np.concatenate(list(arrays))
    group[:, SEGMENT] = np.repeat(np.arange(len(arrays)), [len(array) for array in arrays])
    return group


def split_group(group: np.ndarray) -> list[np.ndarray]:
    """The texts' arrays of a group, each of segment 0."""
    starts = np.flatnonzero(np.diff(group[:, SEGMENT])) + 1
    parts = [part.copy() for part in np.split(group, starts)]
    for part in parts:
        part[:, SEGMENT] = 0
    return parts
