"""Run as a process: trains, is killed with SIGKILL at random points, continues, and compares with a run left alone.

Every batch, file flush, file write and rename is a point at which the kill may come. Prints one JSON line.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from engine_toys import EvalRows, TrainRows, conv, images, run

from zoo.engine import checkpoint

OPTIONS: dict[str, dict[str, Any]] = {
    "adamw": {"ema": 0.9, "precision": "fp32", "channels_last": True},
    "sgd": {"optimizer": "sgd", "save_every": 3, "patience": 4, "micro_batch": 6, "precision": "bf16"},
}
SPEED = {"samples_per_second", "peak_mib", "tflops", "mfu", "eta_seconds"}


def train(folder: Path, kill_at: int, options: dict[str, Any]) -> int:
    """Train in a forked process that dies at its ``kill_at``-th event; returns the number of events, or -1."""
    reader, writer = os.pipe()
    if child := os.fork():
        os.close(writer)
        _, status = os.waitpid(child, 0)
        with os.fdopen(reader) as pipe:
            events = pipe.read()
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL, status
            return -1
        assert status == 0, status
        return int(events)
    count = 0

    def event(*_: Any) -> None:
        nonlocal count
        count += 1
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(plain: Any) -> Any:
        def call(*args: Any, **keywords: Any) -> Any:
            event()
            return plain(*args, **keywords)

        return call

    os.rename, shutil.rmtree = watched(os.rename), watched(shutil.rmtree)
    os.fsync = event  # a kill loses nothing the kernel already holds; waiting for the disk would only take time
    checkpoint.save_file = watched(checkpoint.save_file)
    try:
        data = TrainRows(images(), 16, noise=0.3, each=event)
        val = EvalRows(images(30, 2), 8, each=event)
        run(conv(0.3), data, val, folder, steps=20, eval_every=4, eval_first=True, resume=True, **options)
        os.write(writer, str(count).encode())
        os._exit(0)
    except BaseException as error:
        print(repr(error), file=sys.stderr)
        os._exit(1)


def outcome(folder: Path) -> dict[str, Any]:
    """Everything a run leaves behind, speeds and memory aside."""
    store = checkpoint.Checkpoints(folder / "checkpoints")
    left: dict[str, Any] = {"names": sorted(path.name for path in (folder / "checkpoints").iterdir())}
    for name in ("last", "best"):
        tensors, state = store.load(name)
        left[name] = state
        left[f"{name} tensors"] = {
            f"{stem}/{key}": (list(t.shape), t.float().flatten().tolist())
            for stem, ts in tensors.items()
            for key, t in ts.items()
        }
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    left["metrics"] = [{k: v for k, v in line.items() if k not in SPEED} for line in lines]
    return left


def main(folder: Path, seed: int) -> None:
    torch.set_num_threads(1)
    for slow in ("torch.utils.tensorboard", "torch._dynamo"):  # imported once, not in every fork
        importlib.import_module(slow)
    draw = random.Random(seed)
    report: dict[str, Any] = {"kills": 0}
    for name, options in OPTIONS.items():
        events = train(folder / name / "whole", 0, options)
        expected = outcome(folder / name / "whole")
        for trial in range(3):
            cut = folder / name / str(trial)
            kills = 0
            while train(cut, draw.randint(1, events) if kills < 2 else 0, options) < 0:
                kills += 1
            assert kills, "the first kill always comes"
            report["kills"] += kills
            found = outcome(cut)
            assert not (different := [key for key in expected if found[key] != expected[key]]), (name, trial, different)
    report["tensors"] = len(expected["last tensors"])
    print(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
