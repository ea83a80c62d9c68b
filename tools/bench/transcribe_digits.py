"""A small network that writes down what it hears, from random numbers: the spoken digits as words (zero .. nine),
characters by CTC; word error rate on the validation clips.

    ZOO_DATA_PATH=../shared/data .venv/bin/python tools/bench/transcribe_digits.py
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def write_manifest(data: Path, path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "transcript", "split"])
        for clip in sorted(data.glob("*/*/*.wav")):
            writer.writerow([clip.resolve(), WORDS[int(clip.parent.name)], clip.parent.parent.name])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="conformer")
    parser.add_argument("--data", default="spoken_digits", help="folder in $ZOO_DATA_PATH with a class folder a digit")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options, rest = parser.parse_known_args()
    print("| seed | word error rate | character error rate | s |\n|---|---|---|---|")
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            manifest = Path(folder, "clips.csv")
            write_manifest(Path(os.environ["ZOO_DATA_PATH"], options.data), manifest)
            began = time.perf_counter()
            done = subprocess.run(
                [
                    *(Path(sys.executable).with_name("zoo"), "finetune", options.model, "--weights", "none"),
                    *("--data", manifest, "--task", "transcription", "--seed", str(seed), "--json"),
                    *("-o", Path(folder, "run"), *rest),
                ],
                env={**os.environ, "ZOO_CACHE": f"{folder}/cache"},
                capture_output=True,
                text=True,
            )
            if done.returncode:
                sys.exit(done.stderr[-2000:])
            metrics = json.loads(done.stdout)["metrics"]
            seconds = time.perf_counter() - began
            print(f"| {seed} | {metrics['wer']:.1%} | {metrics['cer']:.1%} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
