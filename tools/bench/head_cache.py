"""The head strategy against running the frozen backbone every epoch, end to end, one after the other.

Both sides: same model and weights, same photos, 10 head epochs. The plain side decodes, crops and runs the backbone
on every image of every epoch; `zoo finetune --strategy head` computes features once and trains a grid of heads.
Then the same command once more, with the features cached.

    ZOO_DATA_PATH=../shared/data .venv/bin/python tools/bench/head_cache.py
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

ZOO = Path(sys.executable).with_name("zoo")


def zoo_run(cache: str, out: Path, epochs: int, model: str) -> tuple[float, float]:
    """(wall seconds of the whole command, val accuracy)."""
    began = time.perf_counter()
    done = subprocess.run(
        [ZOO, "finetune", model, "--data", "cats_dogs", "--no-sample", "--strategy", "head"]
        + ["--epochs", str(epochs), "--output", out, "--json"],
        env={**os.environ, "ZOO_CACHE": cache},
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - began, json.loads(done.stdout)["metrics"]["accuracy"]


def plain_run(epochs: int, model: str) -> tuple[float, float]:
    """The same in a process of its own, interpreter start and imports included, as on zoo's side."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "--plain", "--epochs", str(epochs), "--model", model],
        check=True,
        stdout=subprocess.PIPE,
    )
    return time.perf_counter() - began, float(done.stdout)


def plain_side(epochs: int, model: str) -> None:
    import torch
    from plain_loop import frozen_epochs, loaders
    from torch import nn

    from zoo.weights import load_backbone

    root = Path(os.environ["ZOO_DATA_PATH"].split(os.pathsep)[0]) / "cats_dogs"
    loaded = load_backbone(model)
    backbone = loaded.backbone.module
    torch.manual_seed(0)
    train, val = loaders(root, loaded.input.size[-1], 32, backbone)
    print(frozen_epochs(backbone, nn.Linear(loaded.backbone.dim, 2), train, val, epochs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--plain", action="store_true", help="(used by the script itself)")
    options = parser.parse_args()
    if options.plain:
        plain_side(options.epochs, options.model)
        return
    with tempfile.TemporaryDirectory() as folder:
        first = zoo_run(f"{folder}/cache", Path(folder, "first"), options.epochs, options.model)
        again = zoo_run(f"{folder}/cache", Path(folder, "again"), options.epochs, options.model)
    plain = plain_run(options.epochs, options.model)
    print(f"{options.model} on cats_dogs, {options.epochs} head epochs, whole commands")
    print("| side | wall s | val accuracy | against the plain loop |\n|---|---|---|---|")
    print(f"| frozen backbone every epoch (timm + ImageFolder) | {plain[0]:.1f} | {plain[1]:.1%} | 1.0x |")
    print(f"| zoo --strategy head, empty cache | {first[0]:.1f} | {first[1]:.1%} | {plain[0] / first[0]:.1f}x |")
    print(f"| zoo --strategy head, features cached | {again[0]:.1f} | {again[1]:.1%} | {plain[0] / again[0]:.1f}x |")


if __name__ == "__main__":
    main()
