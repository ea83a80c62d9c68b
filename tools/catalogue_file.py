"""How every catalogue generator ends: write the file, or compare with it."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path


def write_or_compare(file: Path, text: str, check: bool) -> int:
    """Write ``text`` to ``file``; with ``check`` compare instead and show up to 40 lines of what differs.

    Returns:
        The exit code: 1 where they differ.
    """
    if not check:
        file.write_text(text, encoding="utf-8")
        return 0
    committed = file.read_text(encoding="utf-8") if file.exists() else ""
    drift = list(
        difflib.unified_diff(committed.splitlines(), text.splitlines(), "committed", "generated", "", "", 0, "")
    )
    print("\n".join(drift[:40]) if drift else "no drift", file=sys.stderr)
    return 1 if drift else 0
