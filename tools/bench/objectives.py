"""Does each pretraining objective on images pay? A small network pretrained on the photos of a data set without their
labels, then probed and finetuned by one recipe, against random numbers; several seeds of finetuning.

    ZOO_DATA_PATH=../shared/data .venv/bin/python tools/bench/objectives.py [--only simclr dino]
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

from trials import percent, points, zoo, zoo_json

CNN, VIT = "resnet10t", "vit_tiny_patch16_224"
# Objective -> (network, epochs over the 900 photos, settings). Each costs a few minutes of one core.
PLANS: dict[str, tuple[str, int, list[str]]] = {
    "denoising": (CNN, 60, []),
    "masked_conv": (CNN, 60, []),
    "mae": (VIT, 60, []),
    "gan": (CNN, 40, []),
    "simclr": (CNN, 60, []),
    "vicreg": (CNN, 60, []),
    "byol": (CNN, 60, []),
    "dino": (CNN, 30, []),
    "distill": (CNN, 60, ["-O", "teacher=efficientnet_lite0"]),
    "fractals": (CNN, 5, []),
}


def common(options: argparse.Namespace) -> list[str]:
    return ["--size", str(options.size), "--device", "cpu"]


def pretrained(options: argparse.Namespace, name: str, out: Path) -> tuple[float, float]:
    """Make the run ``out``; (seconds, CPU seconds)."""
    model, epochs, settings = PLANS[name]
    data, objective = ("fractals", "supervised") if name == "fractals" else (options.data, name)
    began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    zoo(
        *("pretrain", model, "--objective", objective, "--data", data, *common(options), "-o", str(out)),
        *("--epochs", str(epochs * options.effort), *settings),
    )
    return time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - used


def measured(options: argparse.Namespace, start: list[str]) -> tuple[float, list[float]]:
    """(accuracy of a linear probe, finetuned accuracies by seed)."""
    probe = zoo_json("evaluate", *start, "--probe", "linear", "--data", options.data, "--size", str(options.size))
    tuned = []
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            recipe = ["--strategy", "full", "--lr", "1e-3", "--layer-decay", "1", "--batchnorm", "train"]
            recipe += ["--epochs", str(options.epochs), "--batch-size", "32", "--seed", str(seed), *common(options)]
            made = zoo_json("finetune", *start, "--data", options.data, *recipe, "-o", f"{folder}/run")
            tuned.append(float(made["metrics"]["accuracy"]))
    return float(probe["metrics"]["accuracy"]), tuned


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(PLANS), default=list(PLANS))
    parser.add_argument("--data", default="cats_dogs")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=15, help="of finetuning")
    parser.add_argument("--effort", type=float, default=1.0, help="factor on the epochs of pretraining")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    print("| objective | network | linear probe | finetuned | gain in points | pretraining s | CPU s |")
    print("|---|---|---|---|---|---|---|")
    baseline: dict[str, list[float]] = {}
    for name in options.only:
        model = PLANS[name][0]
        if model not in baseline:
            probe, baseline[model] = measured(options, [model, "--weights", "none"])
            print(f"| random numbers | {model} | {probe:.1%} | {percent(baseline[model])} | | | |", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            seconds, used = pretrained(options, name, run)
            probe, tuned = measured(options, [str(run)])
        gains = [new - old for old, new in zip(baseline[model], tuned, strict=True)]
        row = [name, model, f"{probe:.1%}", percent(tuned), points(gains), f"{seconds:.0f}", f"{used:.0f}"]
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
