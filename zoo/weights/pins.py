"""For files of which nobody publishes a sha256: that of the first fetch, kept beside the file and held against it."""

from __future__ import annotations

import os
from pathlib import Path

from zoo.console import say


def pin_file(file: Path) -> Path:
    """Where the sha256 of a cached file is kept."""
    return file.with_name(f".{file.name}.sha256")


def pinned(file: Path) -> str | None:
    """Hex sha256 of what was first fetched as ``file``; None where nothing was."""
    kept = pin_file(file)
    return kept.read_text(encoding="utf-8").strip() if kept.is_file() else None


def pin(file: Path, sha256: str) -> None:
    """Keep and say the sha256 of a first fetch."""
    temporary = pin_file(file).with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(f"{sha256}\n", encoding="utf-8")
    temporary.replace(pin_file(file))
    say(f"weights: no sha256 of {file.name} is published; its first copy has {sha256}, which later ones must have too")
