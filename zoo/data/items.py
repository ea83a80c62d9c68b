"""What a raw item is: which files count for a modality, and what makes two items the same one."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data.generated import Generated
from zoo_registry.errors import DataError

_IMAGES = "jpg jpeg jpe jfif png gif bmp webp tif tiff ppm pgm pbm pnm tga jp2 avif"
_AUDIO = "wav flac mp3 ogg oga opus m4a aac aif aiff au"

EXTENSIONS = {
    modality: frozenset(f".{ending}" for ending in endings.split())
    for modality, endings in {"image": _IMAGES, "audio": _AUDIO, "text": "txt"}.items()
}
"""File name endings of a modality; a modality without an entry takes every file."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside an uncompressed archive, read where it lies.

    Attributes:
        path: of the archive.
        name: in the archive, for messages alone.
        offset, size: bytes of it in the archive.
    """

    path: str
    name: str
    offset: int
    size: int

    def read(self, first: int = 0, size: int | None = None) -> bytes:
        """Its bytes, or ``size`` of them from ``first`` on.

        Raises:
            OSError: the archive cannot be read.
        """
        with open(self.path, "rb", buffering=0) as file:
            file.seek(self.offset + first)
            return file.read(self.size if size is None else size)

    def __str__(self) -> str:
        return f"{self.path}: {self.name}"


def read_member(member: Member) -> bytes:
    """Its bytes.

    Raises:
        DataError: it is empty, or the archive has lost it or cannot be read.
    """
    try:
        data = member.read()
    except OSError as error:
        raise DataError(f"{member} cannot be read: {error.strerror}.", "Check the archive.") from error
    if not member.size or len(data) < member.size:
        why = f"ends after {len(data):,} of its {member.size:,} bytes" if member.size else "is empty (0 bytes)"
        raise DataError(f"{member} {why}.", "Repair, replace or remove it.")
    return data


def file_of(item: Any, noun: str) -> tuple[io.BytesIO | Path, str] | None:
    """(what a library can open, what to call it in a message) of a path, the bytes of a file, a :class:`Member`, or a
    mapping that holds a path or bytes under ``path`` or ``bytes``; None where the item is none of these.

    Args:
        noun: what the file should be, for messages: ``"image"``, ``"sound"``.

    Raises:
        DataError: there is no such file, or it is a folder or empty.
    """
    article = "An" if noun[0] in "aeiou" else "A"
    if isinstance(item, Mapping):
        item = item.get("path") if item.get("bytes") is None else item["bytes"]
    if isinstance(item, Member):
        return io.BytesIO(read_member(item)), str(item)
    if isinstance(item, bytes | bytearray | memoryview):
        if not len(item):
            raise DataError(f"{article} {noun} given as bytes is empty (0 bytes).", "Remove it or supply its content.")
        return io.BytesIO(item), f"{article} {noun} given as bytes ({len(item):,} bytes)"
    if not isinstance(item, str | os.PathLike):
        return None
    path = Path(item)
    try:
        size = path.stat().st_size if path.is_file() else None
    except (OSError, ValueError):  # a name no file can have: too long, or with a NUL
        size = None
    if size is None:
        problem = f"is a folder, not {article.lower()} {noun} file" if path.is_dir() else "does not exist"
        raise DataError(f"{path} {problem}.", f"Give the path of {article.lower()} {noun} file.")
    if size == 0:
        raise DataError(f"{path} is empty (0 bytes).", "Repair, replace or remove it.")
    return path, str(path)


def is_item(name: str, modality: str) -> bool:
    """True if a file of this name holds an item of the modality."""
    endings = EXTENSIONS.get(modality)
    return endings is None or os.path.splitext(name)[1].lower() in endings


def name_of(item: Any, row: int, modality: str) -> str:
    """An item's name in messages: its path, with the seconds of a stretch; else its number."""
    if isinstance(item, Member | Generated):
        return str(item)
    path = None if modality == "text" else path_of(item)
    if path is None:
        return f"item {row}"
    start, end = stretch_of(item)
    if start is None and end is None:
        return path
    return f"{path} from {start or 0} s" + ("" if end is None else f" to {end} s")


def path_of(item: Any) -> str | None:
    """The file of an item: a path, or what an item made of several things has under ``path``; else None."""
    if isinstance(item, Mapping):
        item = item.get("path")
    return item if isinstance(item, str) else None


def stretch_of(item: Any) -> tuple[float | None, float | None]:
    """The seconds from and to which a recording is heard; None: from its beginning, to its end."""
    return (item.get("start"), item.get("end")) if isinstance(item, Mapping) else (None, None)


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
    """Text that changes whenever the item does: (path, size, time) of a file and the stretch or member of it that is
    meant, a hash of anything else."""
    if isinstance(item, bytes):
        return hashlib.blake2b(item, digest_size=16).hexdigest()
    if modality == "text":
        text = item if isinstance(item, str) else repr(item)
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    if isinstance(item, Mapping) and (path_of(item) is None or item.get("bytes") is not None):
        return _hash_of(item)
    if isinstance(item, Generated):
        return f"{item.maker}\0{item.version}\0{item.number}"
    if isinstance(item, Member):
        return f"{identity(item.path, modality)}\0{item.offset}\0{item.size}"
    path, stretch = os.path.abspath(path_of(item) or item), stretch_of(item)
    of_it = "" if stretch == (None, None) else f"\0{stretch[0]}\0{stretch[1]}"
    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        return f"{path}\0missing{of_it}"
    return f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}{of_it}"


def same(item: Any, modality: str) -> Hashable:
    """What is equal for items that are the same, without a look at files: their path, or place in an archive, tells."""
    return item if isinstance(item, Hashable) else identity(item, modality)


def distinct(items: Sequence[Any], modality: str) -> tuple[list[Any], np.ndarray]:
    """(the items that differ, in order of appearance; (n,) int64 which of them each item is)."""
    numbers: dict[Hashable, int] = {}
    found: list[Any] = []
    which = np.empty(len(items), dtype=np.int64)
    for row, item in enumerate(items):
        which[row] = number = numbers.setdefault(same(item, modality), len(found))
        if number == len(found):
            found.append(item)
    return found, which


def _hash_of(item: Mapping[Any, Any]) -> str:
    """A hash over what an item in memory holds: numbers, texts, bytes and arrays."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(item):
        value = item[name]
        if hasattr(value, "tobytes"):
            value = f"{value.dtype}{value.shape}".encode() + value.tobytes()
        digest.update(f"\0{name}\0".encode() + (value if isinstance(value, bytes) else repr(value).encode()))
    return digest.hexdigest()
