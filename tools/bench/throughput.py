"""Training throughput, zoo against a plain timm + torchvision ImageFolder loop, in turn in one process.

Same model, image size, batch size, precision and optimizer; epochs alternate between the two sides, the first epoch
of each (cold caches, decoding) is left out, and the ratio of the medians is reported.

    ZOO_DATA_PATH=../shared/data .venv/bin/python tools/bench/throughput.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path

import timm
import torch
from plain_loop import finetune_epochs, loaders

import zoo
from zoo.config import FinetuneConfig, make_config
from zoo.data.batches import Eval, Train
from zoo.engine.checkpoint import Checkpoints
from zoo.engine.config import EngineConfig
from zoo.engine.logger import Logger
from zoo.engine.loop import fit
from zoo.engine.optim import layerwise_groups
from zoo.engine.runtime import Runtime
from zoo.prepared import Prepared, prepare, read_dataset
from zoo.tasks import SupervisedTask
from zoo.trained import build_head, pipeline_for
from zoo.weights import load_backbone


def zoo_side(model: str, size: int) -> tuple[SupervisedTask, Prepared]:
    """The task and the decoded data, as zoo.finetune would make them."""
    registry = zoo.default_registry()
    loaded = load_backbone(model, weights="none", registry=registry, size=size)
    config = make_config(FinetuneConfig, {"model": model, "data": "cats_dogs", "sample": False})
    dataset = read_dataset(config, "image", registry)
    data = prepare(dataset, pipeline_for(loaded.model_id, loaded.input, registry), config, ("train", "val"))
    head = build_head("classification", loaded.backbone.dim, dataset.labels, registry)
    return SupervisedTask(loaded.backbone, head), data


def zoo_epoch(task: SupervisedTask, data: Prepared, batch_size: int, folder: Path) -> float:
    """Samples per second of one epoch of the engine's own loop: augmentation, clipping and logging included."""
    batches = Train(data.stores["train"], data.labels["train"], data.pipeline, batch_size=batch_size, seed=0)
    config = EngineConfig(steps=batches.steps_per_epoch, lr=1e-4, weight_decay=0.05, clip_norm=1.0, channels_last=True)
    groups = {"main": layerwise_groups(task.layer_groups(), weight_decay=0.05, layer_decay=1.0)}
    runtime = Runtime.create("fp32", "cpu")
    val = Eval(data.stores["val"], data.labels["val"], data.pipeline, batch_size=batch_size)
    logger, checkpoints = Logger(folder, quiet=True), Checkpoints(folder)
    result = fit(task, batches, val, config, groups, runtime=runtime, checkpoints=checkpoints, logger=logger)
    return result.samples_per_second  # evaluations and checkpoints are not in it, as on the other side


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tf_efficientnet_lite0")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=4, help="of each side; the first is left out")
    options = parser.parse_args()
    root = Path(os.environ["ZOO_DATA_PATH"].split(os.pathsep)[0]) / "cats_dogs"
    torch.manual_seed(0)
    plain = timm.create_model(options.model, num_classes=2)
    train, _ = loaders(root, options.size, options.batch_size, plain)
    theirs, ours = [], []
    with tempfile.TemporaryDirectory() as folder:
        task, data = zoo_side(options.model, options.size)
        plain_epochs = finetune_epochs(plain, train, options.epochs)
        for epoch, rate in enumerate(plain_epochs):
            theirs.append(rate)
            ours.append(zoo_epoch(task, data, options.batch_size, Path(folder) / str(epoch)))
    a, b = statistics.median(ours[1:]), statistics.median(theirs[1:])
    print(f"\n{options.model}, {options.size} px, batch {options.batch_size}, fp32, {torch.get_num_threads()} threads")
    print(f"| side | samples/s (median of {options.epochs - 1}) | all epochs |\n|---|---|---|")
    print(f"| zoo | {a:.1f} | {', '.join(f'{r:.1f}' for r in ours)} |")
    print(f"| timm + ImageFolder, 2 workers | {b:.1f} | {', '.join(f'{r:.1f}' for r in theirs)} |")
    print(f"\nratio: {a / b:.2f}x")


if __name__ == "__main__":
    main()
