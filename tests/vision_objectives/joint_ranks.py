"""Run by every process of a distributed test: each joint-embedding objective for a few steps."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from joint_toys import SMALL, built, train

from zoo.engine.runtime import Runtime


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    runtime = Runtime.create(device="cpu")
    found = {name: train(name, built(name), folder / name, runtime=runtime, steps=3).metrics for name in SMALL}
    if runtime.is_main:
        (folder / "metrics.json").write_text(json.dumps(found))
    runtime.barrier()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
