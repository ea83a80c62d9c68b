"""Run by every process of a distributed test: ``zoo pretrain`` with each objective that compares no images."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from zoo.cli.main import run

# Networks without batch normalisation, whose statistics are of a process's own share.
MODELS = {
    "gan": "test_convnext",
    "masked_conv": "test_convnext",
    "denoising": "test_convnext",
    "mae": "test_vit",
    "supervised": "test_convnext",
    "distill": "convnext_pico",
}
# Mixtures are of neighbours in a process's share.
SETTINGS = {"distill": ["-O", "teacher=efficientnet_lite0", "-O", "apart=0.5", "-O", "mixup=0"]}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    for name, model in MODELS.items():
        start = ["pretrain", model, "--objective", name, "--data", str(folder / "photos"), "-o", str(folder / name)]
        lengths = ["--size", "32", "--batch-size", "8", "--micro-batch", "4", "--epochs", "1", "--log-every", "1"]
        rest = ["--device", "cpu", "--optimizer", "sgd", "--lr", "0.01", *SETTINGS.get(name, [])]
        assert run([*start, *lengths, *rest]) == 0


if __name__ == "__main__":
    main(Path(sys.argv[1]))
