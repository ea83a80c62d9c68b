"""Kill -9 at random steps, resume, and compare the final weights with those of a run left alone, bit for bit.

ZOO_DATA_PATH=../shared/data .venv/bin/python tools/bench/resume.py
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ZOO = Path(sys.executable).with_name("zoo")


def weights_hash(run: Path) -> str:
    digest = hashlib.sha256()
    for name in ("backbone.safetensors", "head.safetensors"):
        digest.update((run / "model" / name).read_bytes())
    return digest.hexdigest()


def saved_step(run: Path) -> int:
    """The step of the last complete checkpoint of end-to-end training; -1 before the first."""
    try:
        return int(json.loads((run / "checkpoints" / "last" / "state.json").read_text())["progress"]["step"])
    except (OSError, ValueError, KeyError):
        return -1


def start(arguments: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [ZOO, "finetune", *arguments], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--data", default="cats_dogs")
    parser.add_argument("--size", type=int, default=64, help="of images")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the kill points")
    options, rest = parser.parse_known_args()
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "ZOO_CACHE": f"{folder}/cache"}
        whole = Path(folder, "whole")
        arguments = [options.model, "--data", options.data, "--no-sample"]
        arguments += ["--size", str(options.size)] if options.data == "cats_dogs" else []
        arguments += ["--epochs", "2", "--save-every", "1", "--ema", "0.9", *rest]
        if start([*arguments, "--output", str(whole)], env).wait():
            sys.exit("the uninterrupted run failed")
        total = saved_step(whole)
        expected = weights_hash(whole)
        print(f"{options.model} on {options.data}, with EMA, {total} steps, sha256 {expected[:16]}")
        print("| killed at step | resumed from | sha256 of the final weights | identical |\n|---|---|---|---|")
        same = 0
        for kill in range(options.kills):
            run, target = Path(folder, f"kill{kill}"), draw.randint(1, total - 1)
            process = start([*arguments, "--output", str(run)], env)
            while saved_step(run) < target and process.poll() is None:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
            resumed_from = saved_step(run)
            if start(["--resume", str(run)], env).wait():
                sys.exit(f"the run killed at step {target} did not resume")
            got = weights_hash(run)
            same += got == expected
            print(f"| {target} | {resumed_from} | {got[:16]} | {'yes' if got == expected else 'NO'} |", flush=True)
        print(f"\n{same} of {options.kills} identical")
        sys.exit(same != options.kills)


if __name__ == "__main__":
    main()
