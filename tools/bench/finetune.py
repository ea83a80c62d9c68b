"""`zoo finetune efficientnet_lite0 --data cats_dogs`, defaults only, from an empty cache: accuracy, wall time and
peak memory of the whole command.

    ZOO_DATA_PATH=../shared/data .venv/bin/python tools/bench/finetune.py
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options, rest = parser.parse_known_args()
    print("| seed | val accuracy | wall s | peak memory GB |\n|---|---|---|---|")
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder, "run")
            arguments = ["finetune", options.model, "--data", "cats_dogs", "--no-sample", "--json", *rest]
            if seed:
                arguments += ["--seed", str(seed)]
            began = time.perf_counter()
            process = subprocess.Popen(
                [Path(sys.executable).with_name("zoo"), *arguments, "--output", out],
                env={**os.environ, "ZOO_CACHE": f"{folder}/cache"},
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            assert process.stdout is not None
            answer = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            if status:
                sys.exit(f"zoo finetune failed with status {status}")
            accuracy = json.loads(answer)["metrics"]["accuracy"]
            wall = time.perf_counter() - began
            print(f"| {seed} | {accuracy:.1%} | {wall:.0f} | {usage.ru_maxrss / 2**20:.2f} |", flush=True)


if __name__ == "__main__":
    main()
