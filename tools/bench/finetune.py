"""`zoo finetune efficientnet_lite0 --data cats_dogs`, defaults only, from an empty cache: metric, wall time and
peak memory of the whole command. Other models and data: `--model all-minilm-l6-v2 --data wnut17`.

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
    parser.add_argument("--data", default="cats_dogs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options, rest = parser.parse_known_args()
    print("| seed | val | wall s | peak memory GB |\n|---|---|---|---|")
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder, "run")
            arguments = ["finetune", options.model, "--data", options.data, "--no-sample", "--json", *rest]
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
            name, value = next(iter(json.loads(answer)["metrics"].items()))
            wall = time.perf_counter() - began
            print(f"| {seed} | {name} {value:.1%} | {wall:.0f} | {usage.ru_maxrss / 2**20:.2f} |", flush=True)


if __name__ == "__main__":
    main()
