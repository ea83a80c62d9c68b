"""sha256 of large files, computed once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

from zoo.paths import cache_dir
from zoo_registry.errors import WeightsError

SHORTEST_PREFIX = 8


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file, remembered in the cache for as long as path, size and time of change stay the same.

    Raises:
        WeightsError: the file cannot be read.
    """
    path = path.resolve()
    note = cache_dir() / "hashes" / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}.json"
    try:
        stat = path.stat()
        stamp = [stat.st_size, stat.st_mtime_ns]
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            known = json.loads(note.read_text(encoding="utf-8"))
            if known["stamp"] == stamp:
                return str(known["sha256"])
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be read: {error.strerror}.", "Check the path and its permissions."
        ) from error
    with contextlib.suppress(OSError):  # a read-only cache costs time, nothing else
        note.parent.mkdir(parents=True, exist_ok=True)
        temporary = note.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps({"path": str(path), "stamp": stamp, "sha256": digest}), encoding="utf-8")
        temporary.replace(note)
    return digest


def agrees(digest: str, expected: str | None) -> bool:
    """True if ``expected`` is None, the digest, or a prefix of at least eight digits, as torch hub's file names
    carry."""
    if expected is None:
        return True
    return len(expected) >= SHORTEST_PREFIX and digest.startswith(expected.lower())
