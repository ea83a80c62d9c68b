"""Does it work for a speaker it has never heard? One run a speaker: trained and chosen on the clips of the others, then
measured on all of that speaker's, who took no part in choosing anything.

    ZOO_DATA_PATH=../shared/data .venv/bin/python tools/bench/leave_one_out.py
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ZOO = Path(sys.executable).with_name("zoo")


def clips(folder: Path, pattern: str) -> list[tuple[str, str, str, str]]:
    """(path, label, split, speaker) of every clip under ``folder/{train,val}/LABEL/``."""
    found = []
    for path in sorted(folder.glob("*/*/*.wav")):
        speaker = re.search(pattern, path.stem)
        if speaker is None:
            sys.exit(f"{path.name} names no speaker by {pattern!r}")
        found.append((str(path.resolve()), path.parent.name, path.parent.parent.name, speaker[1]))
    return found


def write_manifest(path: Path, rows: list[tuple[str, str, str, str]], held_out: str) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        writer.writerows((clip, label, "test" if who == held_out else split) for clip, label, split, who in rows)


def zoo(*arguments: str | Path, env: dict[str, str]) -> str:
    done = subprocess.run([ZOO, *arguments], env=env, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"zoo {' '.join(map(str, arguments))} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="spectrogram/efficientnet_lite0")
    parser.add_argument("--data", default="spoken_digits", help="name of a folder in $ZOO_DATA_PATH")
    parser.add_argument("--speaker", default=r"^[^_]+_([^_]+)_", help="pattern whose first group is the speaker")
    options, rest = parser.parse_known_args()
    rows = clips(Path(os.environ["ZOO_DATA_PATH"], options.data), options.speaker)
    accuracies = []
    print("| speaker left out | clips | accuracy on them | accuracy on val of the others | s |\n|---|---|---|---|---|")
    for speaker in sorted({who for *_, who in rows}):
        with tempfile.TemporaryDirectory() as folder:
            env = {**os.environ, "ZOO_CACHE": f"{folder}/cache"}
            manifest, run = Path(folder, "clips.csv"), Path(folder, "run")
            write_manifest(manifest, rows, speaker)
            began = time.perf_counter()
            made = json.loads(zoo("finetune", options.model, "--data", manifest, "-o", run, "--json", *rest, env=env))
            seconds = time.perf_counter() - began
            found = json.loads(zoo("evaluate", run, "--split", "test", "--json", env=env))
            accuracies.append(found["metrics"]["accuracy"])
            known = made["metrics"]["accuracy"]
            print(f"| {speaker} | {found['n']} | {accuracies[-1]:.1%} | {known:.1%} | {seconds:.0f} |", flush=True)
    print(f"\nmean accuracy on speakers never heard: {statistics.mean(accuracies):.1%}")


if __name__ == "__main__":
    main()
