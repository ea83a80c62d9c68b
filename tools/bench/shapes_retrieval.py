"""A small pair of towers from random numbers on the built-in sample of drawn shapes and their captions: recall of the
100 held-out pairs, both ways.

    .venv/bin/python tools/bench/shapes_retrieval.py
    .venv/bin/python tools/bench/shapes_retrieval.py --objective siglip --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COLUMNS = ("image_to_text_recall_at_1", "text_to_image_recall_at_1", "mean_recall")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="dual/resnet10t+bert_tiny")
    parser.add_argument("--objective", default="clip")
    parser.add_argument("--data", default="shapes_captions")
    parser.add_argument("--size", default="64", help="side of the pictures in pixels")
    parser.add_argument("--epochs", default="8")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options, rest = parser.parse_known_args()
    print("| seed | picture to caption, recall@1 | caption to picture, recall@1 | mean recall | s | CPU s |")
    print("|---|---|---|---|---|---|")
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
            done = subprocess.run(
                [
                    *(
                        Path(sys.executable).with_name("zoo"),
                        "pretrain",
                        options.model,
                        "--objective",
                        options.objective,
                    ),
                    *(
                        "--data",
                        options.data,
                        "--size",
                        options.size,
                        "--epochs",
                        options.epochs,
                        "--seed",
                        str(seed),
                        "--json",
                    ),
                    *("-o", Path(folder, "run"), *rest),
                ],
                env={**os.environ, "ZOO_CACHE": f"{folder}/cache"},
                capture_output=True,
                text=True,
            )
            if done.returncode:
                sys.exit(done.stderr[-2000:])
            seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
            found = json.loads(done.stdout)["metrics"]
            figures = " | ".join(f"{found[name]:.1%}" for name in COLUMNS)
            print(f"| {seed} | {figures} | {seconds:.0f} | {cpu:.0f} |", flush=True)


if __name__ == "__main__":
    main()
