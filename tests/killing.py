"""Killing a command of zoo in the middle of its training."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path


def kill_after_first_checkpoint(arguments: list[str], run: Path, *, script: Path | None = None) -> None:
    """Start ``zoo`` with ``arguments``, which write to the folder ``run``, and SIGKILL it once it has saved a state.

    Args:
        script: a file that is ``zoo`` with more plugins, instead.
    """
    start = [str(script)] if script else ["-m", "zoo.cli.main"]
    process = subprocess.Popen([sys.executable, *start, *arguments], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (run / "checkpoints" / "last" / "state.json").exists() and time.monotonic() < deadline:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
