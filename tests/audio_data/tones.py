"""What the tests of sound share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

Write = Callable[..., Path]


def tone(seconds: float = 0.5, rate: int = 8000, pitch: float = 440.0, level: float = 0.5) -> np.ndarray:
    """A sine (n,) with full scale at 1."""
    return level * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)
