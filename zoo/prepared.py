"""From a configuration to decoded, labelled splits: the same steps for training, evaluation and export."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import zoo
from zoo.config import FinetuneConfig, RunConfig
from zoo.console import say
from zoo.data.batches import label_array
from zoo.data.dataset import DataSet, Table
from zoo.data.sources import load_dataset
from zoo.data.store import Store, build_store
from zoo.protocols import Cuts, Expands, Pipeline
from zoo.run import Run
from zoo.targets import each_its_own
from zoo_registry.errors import DataError, UsageError
from zoo_registry.registry import Registry

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


@dataclass(frozen=True)
class Prepared:
    """Decoded splits.

    Attributes:
        dataset: what was read.
        pipeline: turns its items into tensors.
        tables: split name -> the pipeline's samples: the data set's rows, or what the pipeline made of them.
        stores: split name -> decoded items; row i is row ``kept[i]`` of the split's ``tables`` entry.
        labels: split name -> labels of the store's rows.
    """

    dataset: DataSet
    pipeline: Pipeline
    tables: dict[str, Table]
    stores: dict[str, Store]
    labels: dict[str, Any]


def parse_bytes(text: str) -> int:
    """``"20GB"``, ``"500M"`` or plain bytes.

    Raises:
        UsageError: the text is no size.
    """
    value = text.strip().lower().removesuffix("b").removesuffix("i")
    unit = value[-1:] if value[-1:] in "kmgt" else ""
    try:
        return int(float(value.removesuffix(unit)) * UNITS[unit])
    except ValueError as error:
        raise UsageError(f"{text!r} is no size.", "Write it like 20GB or 500M.") from error


def read_dataset(config: FinetuneConfig, modality: str, registry: Registry) -> DataSet:
    """The data set a configuration names; what was taken is said."""
    columns = {
        "input": config.input_column,
        "pair": config.pair_column,
        "label": config.label_column,
        "split": config.split_column,
    }
    return load_dataset(
        config.data,
        registry=registry,
        modality=modality,
        task=config.task,
        columns={kind: name for kind, name in columns.items() if name},
        seed=config.seed,
        val_fraction=config.val_fraction,
        allow_sample=config.sample,
    )


def prepare(dataset: DataSet, pipeline: Pipeline, config: RunConfig, splits: tuple[str, ...]) -> Prepared:
    """Decode splits (once: later calls open the cache).

    Raises:
        DataError: too many unreadable items, or a split with none left.
    """
    limit = parse_bytes(config.cache_limit) if config.cache_limit else None
    tables, stores, labels = {}, {}, {}
    for split in splits:
        if split not in dataset.splits:
            known = ", ".join(dataset.splits)
            raise DataError(f"{dataset.name} has no split {split!r}.", f"It has: {known}.")
        rows = dataset.splits[split]
        table = pipeline.rows(rows) if isinstance(pipeline, Expands) else each_its_own(rows)
        store = build_store(table, pipeline, cache_limit=limit, max_bad=config.max_bad, say=say)
        labels[split] = label_array(dataclasses.replace(dataset, splits={split: table}), split, store.kept)
        tables[split], stores[split] = table, store
        _say_cut(pipeline, table, store, split)
    return Prepared(dataset, pipeline, tables, stores, labels)


def _say_cut(pipeline: Pipeline, table: Table, store: Store, split: str) -> None:
    if not isinstance(pipeline, Cuts) or store.lengths is None:
        return
    inputs = table.columns["input"]
    cut = pipeline.count_cut(inputs[row] for row in store.kept[store.lengths >= pipeline.max_length])
    if cut:
        say(
            f"  {split}: {cut:,} of {len(store):,} texts are longer than {pipeline.max_length} tokens and are cut "
            "there (--max-length raises it)"
        )


def run_dataset(run: Run, modality: str, registry: Registry) -> DataSet:
    """The data a run was trained on, read again by its configuration; says so where it has changed since."""
    dataset = read_dataset(FinetuneConfig(**run.config), modality, registry)
    if dataset.fingerprint != run.manifest.get("data", {}).get("fingerprint"):
        say(f"note: the data of {run.path} has changed since training; figures may differ from the run's own")
    return dataset


def run_data(run: Run, pipeline: Pipeline, splits: tuple[str, ...] = ("train", "val")) -> Prepared:
    """:func:`run_dataset`, decoded."""
    dataset = run_dataset(run, pipeline.modality, zoo.default_registry())
    return prepare(dataset, pipeline, FinetuneConfig(**run.config), splits)
