"""Where zoo keeps what it may delete and rebuild."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """``$ZOO_CACHE``, else ``$XDG_CACHE_HOME/zoo``, else ``~/.cache/zoo``. Not created."""
    if own := os.environ.get("ZOO_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "zoo"


def offline() -> bool:
    """True where ``ZOO_OFFLINE`` or ``HF_HUB_OFFLINE`` forbids opening a socket."""
    return any(
        os.environ.get(name, "0").lower() in {"1", "true", "yes", "on"} for name in ("ZOO_OFFLINE", "HF_HUB_OFFLINE")
    )
