"""The other side of the text benchmarks: a training loop as transformers' examples write it, and nothing of zoo.

AutoTokenizer, tokenised texts, DataCollatorWithPadding (each batch padded to its longest text), a shuffling
DataLoader, AdamW with linear decay.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    get_linear_schedule_with_warmup,
)

CLASSES = ("negative", "positive")


def load(folder: Path, max_length: int) -> tuple[Any, Any]:
    """(model with a new classifier on its pooler, tokenizer)."""
    tokenizer = AutoTokenizer.from_pretrained(folder, model_max_length=max_length)
    return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len(CLASSES)), tokenizer


def read(file: Path, tokenizer: Any) -> list[dict[str, Any]]:
    """Rows of a `text,label` table, tokenised."""
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    encoded = tokenizer([row["text"] for row in rows], truncation=True)
    names = list(encoded)
    return [
        {**{name: encoded[name][i] for name in names}, "labels": CLASSES.index(row["label"])}
        for i, row in enumerate(rows)
    ]


def loader(rows: list[dict[str, Any]], tokenizer: Any, batch_size: int, train: bool) -> DataLoader:
    return DataLoader(
        rows,  # type: ignore[arg-type]
        batch_size=batch_size,
        shuffle=train,
        drop_last=train,
        collate_fn=DataCollatorWithPadding(tokenizer),
    )


def finetune_epochs(model: Any, batches: DataLoader, epochs: int, lr: float) -> Iterator[tuple[float, float]]:
    """Train end to end; yields (sentences per second, share of padding) of each epoch."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01)
    total = epochs * len(batches)
    schedule = get_linear_schedule_with_warmup(optimizer, total // 10, total)
    for _ in range(epochs):
        model.train()
        began, seen, real, places = time.perf_counter(), 0, 0, 0
        for batch in batches:
            loss = model(**batch).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            seen += len(batch["labels"])
            real += int(batch["attention_mask"].sum())
            places += batch["attention_mask"].numel()
        yield seen / (time.perf_counter() - began), 1 - real / places


def accuracy(model: Any, batches: DataLoader) -> float:
    model.eval()
    right = total = 0
    with torch.no_grad():
        for batch in batches:
            right += int((model(**batch).logits.argmax(1) == batch["labels"]).sum())
            total += len(batch["labels"])
    return right / total
