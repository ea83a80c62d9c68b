"""Plain text as words, for models that tag words: the same words whatever the tokenizer, with their places."""

from __future__ import annotations

import unicodedata
from typing import Any

_IDEOGRAPHS = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2FA1F))


def split_words(text: str) -> list[tuple[int, int]]:
    """Characters (first, one past the last) of each word: what white space divides; punctuation, symbols and
    ideographs stand alone, as in the usual tagged corpora."""
    spans = []
    start: int | None = None
    for place, sign in enumerate(text):
        alone = unicodedata.category(sign)[0] in "PS" or _is_ideograph(sign)
        if alone or sign.isspace():
            if start is not None:
                spans.append((start, place))
                start = None
            if alone:
                spans.append((place, place + 1))
        elif start is None:
            start = place
    if start is not None:
        spans.append((start, len(text)))
    return spans


def as_words(item: Any) -> Any:
    """The words of a plain text; anything else as it is."""
    return [item[first:stop] for first, stop in split_words(item)] if isinstance(item, str) else item


def _is_ideograph(sign: str) -> bool:
    code = ord(sign)
    return code >= 0x3400 and any(low <= code <= high for low, high in _IDEOGRAPHS)
