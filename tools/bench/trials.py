"""What benchmarks of several seeds share: the command line as a subprocess, and an interval over seeds."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ZOO = Path(sys.executable).with_name("zoo")
STUDENT_T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # 97.5 % quantile with n - 1 degrees of freedom


def zoo(*arguments: str, env: dict[str, str] | None = None) -> str:
    """What ``zoo`` prints on stdout; ends the benchmark with its last words where it fails."""
    done = subprocess.run([ZOO, *arguments], env=env, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"zoo {' '.join(arguments)} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def zoo_json(*arguments: str, env: dict[str, str] | None = None) -> dict[str, Any]:
    """The last line of ``zoo ... --json``, or all of it where it is one document."""
    out = zoo(*arguments, "--json", env=env).strip()
    return dict(json.loads(out if out.startswith("{\n") else out.splitlines()[-1]))


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """(mean, low, high): the 95 % interval of the mean by Student's t."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return mean, math.nan, math.nan
    half = STUDENT_T[len(values)] * statistics.stdev(values) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def percent(values: Sequence[float]) -> str:
    """``72.5 % (70.1 to 74.9)``, of shares."""
    mean, low, high = (100 * value for value in interval(values))
    return f"{mean:.1f} % ({low:.1f} to {high:.1f})"


def points(values: Sequence[float]) -> str:
    """``+4.2 (+1.0 to +7.4)`` percentage points, of differences of shares."""
    mean, low, high = (100 * value for value in interval(values))
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"
