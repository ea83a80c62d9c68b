"""Training throughput on short texts, zoo against a plain transformers loop, in turn in one process.

Same network (all-minilm-l6-v2), data (sst2), batch size, precision and optimizer; epochs alternate between the two
sides and the ratio of the medians is reported. With --accuracy the plain loop's validation accuracy after its epochs.

    ZOO_DATA_PATH=../shared/data .venv/bin/python tools/bench/text_throughput.py
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path

import numpy as np
import plain_text_loop
import torch

import zoo
from zoo.config import FinetuneConfig, make_config
from zoo.data.batches import Eval, Train
from zoo.data.bucket import padding_share
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

MODEL = "all-minilm-l6-v2"


def zoo_side() -> tuple[SupervisedTask, Prepared]:
    """The task and the tokenised data, as zoo.finetune would make them."""
    registry = zoo.default_registry()
    loaded = load_backbone(MODEL, registry=registry)
    config = make_config(FinetuneConfig, {"model": MODEL, "data": "sst2", "sample": False})
    dataset = read_dataset(config, "text", registry)
    data = prepare(dataset, pipeline_for(loaded.model_id, loaded.input, registry), config, ("train", "val"))
    head = build_head("classification", loaded.backbone.dim, dataset.labels, registry)
    return SupervisedTask(loaded.backbone, head), data


def zoo_epoch(task: SupervisedTask, data: Prepared, batch_size: int, folder: Path) -> tuple[float, float]:
    """(sentences per second, share of padding) of one epoch of the engine's own loop, clipping and logging included."""
    batches = Train(data.stores["train"], data.labels["train"], data.pipeline, batch_size=batch_size, seed=0)
    config = EngineConfig(steps=batches.steps_per_epoch, lr=5e-5, weight_decay=0.01, clip_norm=1.0)
    groups = {"main": layerwise_groups(task.layer_groups(), weight_decay=0.01, layer_decay=1.0)}
    runtime = Runtime.create("fp32", "cpu")
    val = Eval(data.stores["val"], data.labels["val"], data.pipeline, batch_size=batch_size)
    logger, checkpoints = Logger(folder, quiet=True), Checkpoints(folder)
    result = fit(task, batches, val, config, groups, runtime=runtime, checkpoints=checkpoints, logger=logger)
    rows = list(batches.rows(0, batches.steps_per_epoch))
    # Evaluations and checkpoints are not in the rate, as on the other side.
    return result.samples_per_second, padding_share(np.asarray(data.stores["train"].lengths), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=3, help="of each side")
    parser.add_argument("--accuracy", action="store_true", help="also measure the plain loop's accuracy")
    options = parser.parse_args()
    root = Path(os.environ["ZOO_DATA_PATH"].split(os.pathsep)[0]) / "sst2"
    torch.manual_seed(0)
    task, data = zoo_side()
    folder = Path(task.backbone.input.assets)
    model, tokenizer = plain_text_loop.load(folder, task.backbone.input.size[0])
    train = plain_text_loop.loader(
        plain_text_loop.read(root / "train.csv", tokenizer), tokenizer, options.batch_size, train=True
    )
    theirs, ours = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for epoch, one in enumerate(plain_text_loop.finetune_epochs(model, train, options.epochs, lr=5e-5)):
            theirs.append(one)
            ours.append(zoo_epoch(task, data, options.batch_size, Path(scratch) / str(epoch)))
    print(f"\n{MODEL} on sst2, batch {options.batch_size}, fp32, {torch.get_num_threads()} threads")
    print(f"| side | sentences/s (median of {options.epochs}) | all epochs | padding |\n|---|---|---|---|")
    medians = []
    for name, found in (("zoo", ours), ("transformers + DataCollatorWithPadding", theirs)):
        medians.append(statistics.median(rate for rate, _ in found))
        rates = ", ".join(f"{rate:.1f}" for rate, _ in found)
        print(f"| {name} | {medians[-1]:.1f} | {rates} | {found[-1][1]:.1%} |")
    print(f"\nratio: {medians[0] / medians[1]:.2f}x")
    if options.accuracy:
        val = plain_text_loop.loader(plain_text_loop.read(root / "val.csv", tokenizer), tokenizer, 64, train=False)
        print(f"plain loop, val accuracy after {options.epochs} epochs: {plain_text_loop.accuracy(model, val):.1%}")


if __name__ == "__main__":
    main()
