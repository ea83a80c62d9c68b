"""The other side of the benchmarks: training loops as their libraries' examples write them, and nothing of zoo.

timm for the model, torchvision ImageFolder and transforms for the data, a DataLoader with two workers, AdamW.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import timm
import torch
from torch import nn
from torchvision import transforms
from torchvision.datasets import ImageFolder


def loaders(root: Path, size: int, batch_size: int, model: nn.Module) -> tuple[torch.utils.data.DataLoader, ...]:
    """(train with random crops and flips, val with timm's evaluation transform), two workers each."""
    config = timm.data.resolve_model_data_config(model)
    config["input_size"] = (3, size, size)
    train = transforms.Compose(
        [
            transforms.RandomResizedCrop(size, scale=(0.35, 1.0)),
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(0.2, 0.2, 0.2),
            transforms.ToTensor(),
            transforms.Normalize(config["mean"], config["std"]),
        ]
    )
    val = timm.data.create_transform(**config, is_training=False)
    make = torch.utils.data.DataLoader
    options = {"batch_size": batch_size, "num_workers": 2, "persistent_workers": True}
    return (
        make(ImageFolder(str(root / "train"), train), shuffle=True, drop_last=True, **options),
        make(ImageFolder(str(root / "val"), val), **options),
    )


def finetune_epochs(model: nn.Module, batches: torch.utils.data.DataLoader, epochs: int) -> Iterator[float]:
    """Train end to end; yields samples per second of each epoch."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05)
    model.train()
    for _ in range(epochs):
        began, seen = time.perf_counter(), 0
        for images, labels in batches:
            loss = nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            seen += len(images)
        yield seen / (time.perf_counter() - began)


def frozen_epochs(
    backbone: nn.Module,
    head: nn.Module,
    train: torch.utils.data.DataLoader,
    val: torch.utils.data.DataLoader,
    epochs: int,
) -> float:
    """Train a head with the frozen backbone run on every image of every epoch; returns the best val accuracy."""
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=1e-3)
    backbone.eval()
    best = 0.0
    for _ in range(epochs):
        for images, labels in train:
            with torch.no_grad():
                features = backbone(images)
            loss = nn.functional.cross_entropy(head(features), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        right = total = 0
        with torch.no_grad():
            for images, labels in val:
                right += int((head(backbone(images)).argmax(1) == labels).sum())
                total += len(labels)
        best = max(best, right / total)
    return best
