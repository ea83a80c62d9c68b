"""How long until a name is known: `zoo --help`, `zoo list`, and naming pretrained models with timm, side by side.

    python tools/bench/startup.py

Median of five processes each, the first run of each left out (cold file cache). Exit 1 if a target is missed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 5
TARGET_SECONDS = 0.2
TARGET_RATIO = 15.0


def median_seconds(command: list[str]) -> float:
    """Wall seconds from start to exit, median of ``RUNS``."""
    # As a user has it: Python keeps the bytecode of what it imported, on either side.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    seconds = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def main() -> int:
    zoo = str(Path(sys.executable).with_name("zoo"))
    timm = median_seconds([sys.executable, "-c", "import timm; print(len(timm.list_pretrained()))"])
    met = True
    print(f"{'command':28} {'seconds':>8} {'times faster':>13}")
    print(f"{'timm.list_pretrained()':28} {timm:8.3f} {1.0:13.1f}")
    for command in (["--help"], ["list"]):
        seconds = median_seconds([zoo, *command])
        print(f"{'zoo ' + ' '.join(command):28} {seconds:8.3f} {timm / seconds:13.1f}")
        met &= seconds <= TARGET_SECONDS and timm / seconds >= TARGET_RATIO
    print(f"targets (at most {TARGET_SECONDS} s, at least {TARGET_RATIO:.0f} times): {'met' if met else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
