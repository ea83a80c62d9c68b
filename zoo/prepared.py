"""From a configuration to decoded, labelled splits: the same steps for training, evaluation and export."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

import zoo
from zoo.config import FinetuneConfig, RunConfig
from zoo.console import say
from zoo.data.batches import Labels, label_array
from zoo.data.clips import Crops, Pieces, Windows, no_longer_than
from zoo.data.dataset import DataSet, Table
from zoo.data.hearing import quality_notes
from zoo.data.pair_store import PairCrops, PairStore, decode_sides, pair_up
from zoo.data.sources import load_dataset
from zoo.data.store import Divisible, Rows, Store, build_store
from zoo.protocols import Cuts, Expands, Paired, Pipeline, Windowed
from zoo.run import Run
from zoo.targets import each_its_own
from zoo_registry.errors import DataError, UsageError
from zoo_registry.registry import Registry

FORWARD_SECONDS = 64
"""Of sound in one forward pass, padding included: what 32 ordinary clips come to, and memory can take."""

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


@dataclass(frozen=True)
class Prepared:
    """Decoded splits.

    Attributes:
        dataset: what was read.
        pipeline: turns its items into tensors.
        tables: split name -> the pipeline's samples: the data set's rows, or what the pipeline made of them; windows of
            long recordings. Column ``owner`` holds the data set's row.
        stores: split name -> decoded items (:class:`zoo.data.store.Store`) or pairs
            (:class:`zoo.data.pair_store.PairStore`); row i is row ``kept[i]`` of the split's ``tables`` entry.
        labels: split name -> labels of the store's rows.
        crops: random parts of the recordings of ``train`` and their labels, where some are longer than a window.
    """

    dataset: DataSet
    pipeline: Pipeline
    tables: dict[str, Table]
    stores: dict[str, Any]
    labels: dict[str, Any]
    crops: tuple[Crops | PairCrops, Labels] | None = None

    @property
    def training(self) -> tuple[Rows | Crops | PairStore | PairCrops, Labels]:
        """What end-to-end training takes its batches from, and its labels."""
        return self.crops or (self.stores["train"], self.labels["train"])


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
        units=config.units,
    )


def prepare(dataset: DataSet, pipeline: Pipeline, config: RunConfig, splits: tuple[str, ...]) -> Prepared:
    """Decode splits (once: later calls open the cache).

    Raises:
        DataError: too many unreadable items, or a split with none left.
    """
    limit = parse_bytes(config.cache_limit) if config.cache_limit else None
    tables: dict[str, Table] = {}
    stores: dict[str, Any] = {}
    labels: dict[str, Any] = {}
    crops: tuple[Crops | PairCrops, Labels] | None = None
    for split in splits:
        if split not in dataset.splits:
            known = ", ".join(dataset.splits)
            raise DataError(f"{dataset.name} has no split {split!r}.", f"It has: {known}.")
        rows = dataset.splits[split]
        if isinstance(pipeline, Paired):
            pairs, varied = _pairs(rows, pipeline, config, limit, split)
            tables[split], stores[split] = each_its_own(rows), pairs
            labels[split] = label_array(dataset, split, pairs.kept)
            if split == "train" and varied is not None:
                crops = varied, labels[split]
            continue
        table = pipeline.rows(rows) if isinstance(pipeline, Expands) else each_its_own(rows)
        store = build_store(table, pipeline, cache_limit=limit, max_bad=config.max_bad, say=say)
        _say_heard(pipeline, store, split)
        found = label_array(dataclasses.replace(dataset, splits={split: table}), split, store.kept)
        _say_cut(pipeline, table.columns["input"], store, split)
        if isinstance(pipeline, Windowed) and (pieces := pieces_of(cast(Divisible, store), pipeline, split)):
            if split == "train" and pipeline.window:
                crops = Crops(cast(Divisible, store), pipeline.window), found
            table = table.take(store.kept[pieces.owner])
            store, found = pieces, pieces.labels(found)
        tables[split], stores[split], labels[split] = table, store, found
    return Prepared(dataset, pipeline, tables, stores, labels, crops)


def _pairs(
    rows: Table, pipeline: Paired, config: RunConfig, limit: int | None, split: str
) -> tuple[PairStore, PairCrops | None]:
    """The pairs of a split, and what to train on in their place where that is something else."""
    decoded = decode_sides(rows.columns["input"], pipeline, cache_limit=limit, max_bad=config.max_bad, say=say)
    for side in decoded:
        _say_heard(side.part, side.items, split)
        _say_cut(side.part, side.inputs, side.items, split)
    return pair_up(decoded, max_bad=config.max_bad, say=say)


def pieces_of(store: Divisible, pipeline: Windowed, split: str) -> Pieces | None:
    """What a pipeline makes of recordings that are longer than it takes, which is said; None where none is.

    Raises:
        DataError: all are longer, and it cuts none.
    """
    most = pipeline.window or pipeline.longest
    long = int((np.asarray(store.lengths) > most).sum()) if most else 0
    if not long:
        return None
    which = f"{long:,} of {len(store):,} recordings are longer than {most / pipeline.rate:g} s"
    if pipeline.window:
        windows = Windows(store, pipeline.window)
        what = "a random part of each is trained on" if split == "train" else f"{len(windows):,} windows cover them all"
        say(f"  {split}: {which}: {what} (--seconds changes that length)")
        return windows
    if long == len(store):
        raise DataError(
            f"All {long:,} recordings of the {split} split are longer than {most / pipeline.rate:g} s, and they cannot "
            "be cut.",
            "Raise --seconds, or give shorter recordings with labels of their own.",
        )
    say(f"  {split}: {which} and left out, because they cannot be cut (--seconds raises the limit)")
    return no_longer_than(store, pipeline.longest)


def forward_size(pipeline: Pipeline) -> dict[str, int]:
    """Sizes of :class:`zoo.data.batches.Eval` where nothing is trained."""
    if isinstance(pipeline, Windowed):
        return {"batch_size": 32, "batch_tokens": FORWARD_SECONDS * pipeline.rate}
    return {"batch_size": 32}


def _say_heard(pipeline: Pipeline, store: Store, split: str) -> None:
    for note in quality_notes(store, split) if pipeline.modality == "audio" else ():
        say(f"  {note}")


def _say_cut(pipeline: Pipeline, inputs: Sequence[Any], store: Store, split: str) -> None:
    if not isinstance(pipeline, Cuts) or store.lengths is None:
        return
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
