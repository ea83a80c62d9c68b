"""On a CUDA device: training rate on cached data against the same model's rate on synthetic data already on the
device, bf16, in turn in one process. The gap is what data loading, augmentation and logging cost.

    ZOO_DATA_PATH=../shared/data .venv/bin/python tools/bench/cuda_rate.py
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from throughput import zoo_side

from zoo.data.batches import Eval, Train
from zoo.engine.checkpoint import Checkpoints
from zoo.engine.config import EngineConfig
from zoo.engine.logger import Logger
from zoo.engine.loop import fit
from zoo.engine.optim import layerwise_groups
from zoo.engine.runtime import Runtime
from zoo.protocols import Batch, TrainBatches
from zoo.tasks import SupervisedTask


class Synthetic:
    """One prepared batch on the device, again and again."""

    samples = 10**6

    def __init__(self, size: int, batch_size: int, steps: int) -> None:
        self.steps_per_epoch = steps
        self.batch: Batch = {
            "image": torch.randn(batch_size, 3, size, size, device="cuda"),
            "label": torch.zeros(batch_size, dtype=torch.long, device="cuda"),
            "index": torch.arange(batch_size, device="cuda"),
        }

    def stream(self, start: int, stop: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        for _ in range(start, stop):
            yield dict(self.batch)

    def transform(self, batch: Batch, epoch: int) -> Batch:
        return batch


def rate(task: SupervisedTask, batches: TrainBatches, val: Eval, steps: int, folder: Path) -> float:
    config = EngineConfig(steps=steps, lr=1e-4, precision="bf16", channels_last=True, log_every=20, eval_every=steps)
    groups = {"main": layerwise_groups(task.layer_groups(), weight_decay=0.05, layer_decay=1.0)}
    runtime = Runtime.create("bf16", "cuda")
    logger, checkpoints = Logger(folder, quiet=True), Checkpoints(folder)
    result = fit(task, batches, val, config, groups, runtime=runtime, checkpoints=checkpoints, logger=logger)
    return result.samples_per_second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5, help="of each side; the first is left out")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no CUDA device on this machine")
    cached, synthetic = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task, data = zoo_side(options.model, options.size)
        real = Train(data.stores["train"], data.labels["train"], data.pipeline, batch_size=options.batch_size, seed=0)
        val = Eval(data.stores["val"], data.labels["val"], data.pipeline, batch_size=64)
        fake = Synthetic(options.size, options.batch_size, options.steps)
        for turn in range(options.rounds):
            synthetic.append(rate(task, fake, val, options.steps, folder / f"synthetic{turn}"))
            cached.append(rate(task, real, val, options.steps, folder / f"cached{turn}"))
    a, b = statistics.median(cached[1:]), statistics.median(synthetic[1:])
    print(f"{torch.cuda.get_device_name()}, {options.model}, {options.size} px, batch {options.batch_size}, bf16")
    print(f"| data | img/s (median of {options.rounds - 1}) |\n|---|---|")
    print(f"| cached | {a:.0f} |\n| synthetic | {b:.0f} |\n\ncached / synthetic: {a / b:.1%}")


if __name__ == "__main__":
    main()
