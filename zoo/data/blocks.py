"""Token ids of a corpus as one stream on disk, larger than memory if need be, and two views of it.

Packed blocks of one length for models that read on (causal language models); single documents for those that read
sentences. Both are :class:`zoo.data.store.Rows`.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from zoo.console import say as say_to_stderr
from zoo.data.folder_cache import build_folder
from zoo.data.ragged import RaggedRows, RaggedWriter, open_ragged
from zoo.paths import cache_dir
from zoo_registry.errors import DataError

CHUNK = 1024
"""Documents that are made into tokens at once, of at most ``CHARACTERS`` together where one is not longer itself."""

CHARACTERS = 1 << 20
SAY_EVERY = 5.0

SHORTEST = 2
"""Tokens below which a document says nothing about its tokens' company."""

INDEX = "index.json"

Pieces = Callable[[Sequence[str]], list[list[np.ndarray]]]


class Blocks:
    """The stream cut into rows of ``length``; what is left over at its end is left out."""

    lengths: np.ndarray | None = None

    def __init__(self, stream: np.ndarray, length: int) -> None:
        self.rows = stream[: len(stream) // length * length].reshape(-1, length)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """(len(rows), length) int32."""
        return np.asarray(self.rows[np.asarray(rows)])


def build_stream(
    documents: Iterable[str], pieces: Pieces, *, key: str, say: Callable[[str], None] = say_to_stderr
) -> Path:
    """Write the token ids of every document, and where each piece begins, into a folder of the cache.

    It appears there complete or not at all, and is found again by its key. Memory holds one chunk of documents.

    Args:
        documents: gone through once.
        pieces: token ids of texts, int32, each text in as many pieces as it should have.
        key: names everything that decides the ids.

    Raises:
        DataError: the folder cannot be written.
    """
    folder = cache_dir() / "streams" / hashlib.sha256(key.encode()).hexdigest()[:40]

    def write(work: Path) -> None:
        count, said = 0, time.monotonic()
        with RaggedWriter(work) as out:
            for texts in _chunks(documents):
                for piece in (piece for group in pieces(texts) for piece in group):
                    out.add(np.asarray(piece, dtype=np.int32))
                count += len(texts)
                if time.monotonic() - said > SAY_EVERY:
                    said = time.monotonic()
                    say(f"tokens: {out.length:,} of {count:,} documents so far")
        (work / INDEX).write_text(json.dumps({"tokens": out.length, "pieces": out.count}), encoding="utf-8")

    if _open(folder) is None:
        try:
            build_folder(folder, write, _open)
        except OSError as error:
            raise DataError(
                f"The corpus cannot be written to {folder.parent}: {error.strerror}.",
                "Free some space, or point ZOO_CACHE at another folder.",
            ) from error
    return folder


def blocks(folder: Path, length: int) -> Blocks:
    """The packed view of :func:`build_stream`'s folder: every row is full."""
    return Blocks(_stream(folder).flat, length)


def documents(folder: Path) -> RaggedRows:
    """One row a piece, but for those of a single token."""
    stream = _stream(folder)
    kept = np.flatnonzero(stream.lengths >= SHORTEST)
    return RaggedRows(stream.flat, stream.starts[kept], stream.lengths[kept])


def _stream(folder: Path) -> RaggedRows:
    if (stream := _open(folder)) is None:
        raise DataError(f"The tokens in {folder} are damaged.", "Remove the folder and start again.")
    return stream


def _open(folder: Path) -> RaggedRows | None:
    """All pieces; None where there is no folder or it is damaged."""
    try:
        pieces = int(json.loads((folder / INDEX).read_text("utf-8"))["pieces"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return open_ragged(folder, pieces, (), np.int32)


def _chunks(documents: Iterable[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    characters = 0
    for document in documents:
        if chunk and (len(chunk) == CHUNK or characters + len(document) > CHARACTERS):
            yield chunk
            chunk, characters = [], 0
        chunk.append(document)
        characters += len(document)
    if chunk:
        yield chunk
