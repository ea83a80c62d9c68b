"""What a raw item is: which files count for a modality, and what makes two items the same one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any

_IMAGES = "jpg jpeg jpe jfif png gif bmp webp tif tiff ppm pgm pbm pnm tga jp2 avif"
_AUDIO = "wav flac mp3 ogg oga opus m4a aac aif aiff au"

EXTENSIONS = {
    modality: frozenset(f".{ending}" for ending in endings.split())
    for modality, endings in {"image": _IMAGES, "audio": _AUDIO, "text": "txt"}.items()
}
"""File name endings of a modality; a modality without an entry takes every file."""


def is_item(name: str, modality: str) -> bool:
    """True if a file of this name holds an item of the modality."""
    endings = EXTENSIONS.get(modality)
    return endings is None or os.path.splitext(name)[1].lower() in endings


def name_of(item: Any, row: int, modality: str) -> str:
    """An item's name in messages: its path, else its number."""
    return item if isinstance(item, str) and modality != "text" else f"item {row}"


def texts_of(item: Any) -> tuple[str, ...]:
    """The texts that a text item is made of: itself, the two of a pair, the words of a sentence, question and context.

    What names an item (a question's ``id``) is no text of it.
    """
    if isinstance(item, Mapping):
        return tuple(str(value) for key, value in item.items() if key != "id")
    return tuple(map(str, item)) if isinstance(item, list | tuple) else (str(item),)


def shown(item: Any, width: int = 40) -> str:
    """A text item for messages: shortened, the texts of a pair divided by ``|``, the words of a sentence by spaces."""
    if isinstance(item, list):
        return repr(shorten(" ".join(item[:width]), width))
    return " | ".join(repr(shorten(text, width)) for text in texts_of(item))


def shorten(text: str, width: int = 40) -> str:
    """At most ``width`` characters of a text, ending in ``...`` where something is cut."""
    return text if len(text) <= width else text[: width - 3] + "..."


def identity(item: Any, modality: str) -> str:
    """Text that changes whenever the item does: (path, size, time) of a file, a hash of anything else."""
    if isinstance(item, bytes):
        return hashlib.blake2b(item, digest_size=16).hexdigest()
    if modality == "text":
        text = item if isinstance(item, str) else repr(item)
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    path = os.path.abspath(item)
    try:
        stat = os.stat(path)
    except OSError:
        return f"{path}\0missing"
    return f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}"
