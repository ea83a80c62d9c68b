from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def test_killed_runs_end_bit_for_bit_like_whole_ones(tmp_path: Path) -> None:
    """SIGKILL at random points, during steps, evaluations and saves; then to the end. Weights, running statistics,
    average, optimizer, best weights, patience and logs are those of the run that was left alone."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    done = subprocess.run(
        [sys.executable, str(HERE / "engine_kill.py"), str(tmp_path), "5"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["kills"] >= 8
    assert report["tensors"] > 10
