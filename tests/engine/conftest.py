"""Makes the toy tasks importable by the tests here and by the processes they start."""

from __future__ import annotations

import sys
from pathlib import Path

from one_thread import one_thread  # noqa: F401

sys.path.insert(0, str(Path(__file__).parent))
