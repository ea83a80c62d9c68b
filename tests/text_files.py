"""Small files of texts for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zoo.data.dataset import DataSet
from zoo.data.sources import load_dataset
from zoo_registry import Registry
from zoo_registry.errors import UnknownName


class NoNames:
    def dataset(self, name: str) -> Any:
        raise UnknownName(f"No data set {name}.", "There is none.")


NOTHING: Registry = NoNames()  # type: ignore[assignment]


def load(data: Path | str, **options: Any) -> DataSet:
    return load_dataset(str(data), registry=NOTHING, modality="text", **options)


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def jsonl(path: Path, records: list[dict[str, Any]]) -> Path:
    return write(path, "\n".join(map(json.dumps, records)))


def items(dataset: DataSet, split: str = "train") -> list[Any]:
    return dataset.splits[split].columns["input"]


def labels(dataset: DataSet, split: str = "train") -> list[Any]:
    return dataset.splits[split].columns["label"]
