"""What counts as a caption, and the captions in a table's or a file's value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAMES = ("caption", "captions", "text", "texts", "title", "description", "sentence", "sentences", "alt_text", "alt",
         "prompt", "transcript", "transcription", "content", "comment", "raw")  # fmt: skip
"""What columns and keys of captions are called, the most telling first."""

TELLING = ("caption", "captions", "alt_text", "description")
"""Of these, the names that nothing but captions has."""


def captions_of(value: Any) -> list[str]:
    """The captions in a value: a text, an object that holds some under one of :data:`NAMES`, or a list of
    these. White space around and within is made single spaces; what is empty or no text is no caption."""
    if isinstance(value, Mapping):
        return next((found for name in NAMES if (found := captions_of(value.get(name)))), [])
    if isinstance(value, list | tuple):
        return [caption for one in value if isinstance(one, str | Mapping) for caption in captions_of(one)]
    text = " ".join(value.split()) if isinstance(value, str) else ""
    return [text] if text else []
