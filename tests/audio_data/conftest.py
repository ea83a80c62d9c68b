"""Sound files of every kind, written on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from audio_data.tones import Write, tone


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, samples: np.ndarray | None = None, rate: int = 8000, **options: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone(rate=rate) if samples is None else samples, rate, **options)
        return path

    return write
