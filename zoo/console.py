"""Talk goes to stderr, one line at a time, so that stdout holds nothing but data."""

from __future__ import annotations

import os
import sys


def say(text: str) -> None:
    """Print one line for people; of several training processes only the first talks."""
    if os.environ.get("RANK", "0") == "0":
        print(text, file=sys.stderr, flush=True)
