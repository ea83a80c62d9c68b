"""The way to the helpers beside this file, and one thread for tiny tensors."""

from __future__ import annotations

import sys
from pathlib import Path

from one_thread import one_thread  # noqa: F401

sys.path.insert(0, str(Path(__file__).parent))
