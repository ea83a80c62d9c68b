"""Does pretraining pay? A tiny BERT finetuned on sst2 from random numbers, and from masked language modelling on the
training texts of the same data (no labels), by the same recipe; several seeds, intervals over the differences.

    ZOO_DATA_PATH=../shared/data .venv/bin/python tools/bench/pretrain_gain.py
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

from trials import points, zoo

from zoo.run import open_run


def one_seed(options: argparse.Namespace, seed: int) -> tuple[float, float, float, float]:
    """(accuracy from scratch, accuracy after pretraining, perplexity, seconds of pretraining)."""
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "ZOO_CACHE": f"{folder}/cache"}
        base, scratch, tuned = (f"{folder}/{name}" for name in ("base", "scratch", "tuned"))
        common = ["--data", options.data, "--no-sample", "--seed", str(seed)]
        began = time.perf_counter()
        zoo(
            *("pretrain", options.model, "--objective", options.objective, *common, "-o", base),
            *("--epochs", str(options.pretrain_epochs), "--batch-size", "64"),
            env=env,
        )
        seconds = time.perf_counter() - began
        recipe = [*common, "--strategy", "full", "--epochs", str(options.epochs), "--lr", "3e-4"]
        recipe += ["--layer-decay", "1", "--batch-size", "32"]
        # The same tokenizer on both sides: only the weights differ.
        zoo("finetune", options.model, "--weights", "none", "--tokenizer", base, *recipe, "-o", scratch, env=env)
        zoo("finetune", base, *recipe, "-o", tuned, env=env)
        first, second, before = (open_run(run).manifest["metrics"] for run in (scratch, tuned, base))
        return first["accuracy"], second["accuracy"], before.get("perplexity", math.nan), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="bert_tiny")
    parser.add_argument("--data", default="sst2")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--objective", default="mlm")
    parser.add_argument("--pretrain-epochs", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1, help="seeds at the same time")
    options = parser.parse_args()
    print("| seed | from scratch | pretrained | gain | perplexity | pretraining s |\n|---|---|---|---|---|---|")
    gains = []
    with ThreadPoolExecutor(options.jobs) as pool:
        found = pool.map(lambda seed: one_seed(options, seed), options.seeds)
        for seed, (scratch, tuned, perplexity, seconds) in zip(options.seeds, found, strict=True):
            gains.append(tuned - scratch)
            gain = f"{100 * gains[-1]:+.1f}"
            print(f"| {seed} | {scratch:.1%} | {tuned:.1%} | {gain} | {perplexity:.1f} | {seconds:.0f} |", flush=True)
    print(f"\nmean gain in points, with its 95 % interval over {len(gains)} seeds: {points(gains)}")


if __name__ == "__main__":
    main()
