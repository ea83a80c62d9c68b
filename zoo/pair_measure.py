"""``zoo evaluate`` of a model of pairs: retrieval both ways on pairs, zero-shot on labelled data. Imports no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.console import say
from zoo.data.captions import NAMES
from zoo.data.columns import LABEL_NAMES, by_name
from zoo.data.dataset import DataSet
from zoo.data.folders import files_under
from zoo.data.pair_tables import tables_of
from zoo.data.shards import find_shards
from zoo.data.sources import load_dataset, locate
from zoo.data.tables import read_table
from zoo.pair_vectors import PairVectors, first_rows, pair_vectors
from zoo.prompts import ARTICLE, spoken
from zoo.resampling import interval, resampled_medians, wilson
from zoo.retrieval import DEPTHS, ranks, recalls_of
from zoo.run import open_run
from zoo.targets import check_readable
from zoo.zeroshot import TEXT, Pair
from zoo_registry.errors import DataError, UnknownName, UsageError

if TYPE_CHECKING:
    from zoo_registry.registry import Registry

RETRIEVAL = "retrieval"
NOUNS = {"image": "images", "text": "texts", "audio": "recordings"}


def are_pairs(data: str, modalities: tuple[str, str], columns: Mapping[str, str], registry: Registry) -> bool:
    """Whether data are pairs of those modalities, rather than labelled inputs of the first.

    Raises:
        DataError, UnknownName: there are no such data.
    """
    if TEXT not in modalities or "pair" in columns:
        return True
    if "label" in columns:
        return False
    if find_shards(data):
        return True
    if not Path(data).expanduser().exists():
        try:
            return registry.dataset(data).spec.modality == "-".join(modalities)
        except UnknownName:
            pass
    path = locate(data, registry, modalities[0], columns, True).path
    if find_shards(str(path)):
        return True
    if tables := tables_of(path):
        names = list(read_table(next(iter(tables.values()))[0]).columns)
        # A column called "text" may be the name of a class; one called "label" is no caption.
        return by_name(names, LABEL_NAMES) is None or by_name(names, NAMES[:2]) is not None
    files = files_under(path, modalities[0])[0] if path.is_dir() else []
    return any(Path(file).with_suffix(".txt").is_file() for file in files)


def measure_retrieval(pair: Pair, items: Sequence[tuple[Any, Any]], batch_size: int, max_bad: float) -> dict[str, Any]:
    """The report on pairs of raw items: recalls at :data:`zoo.retrieval.DEPTHS` with Wilson's intervals and median
    ranks with bootstrapped ones, both ways. Pairs that share an item belong together, all of them.

    Returns:
        ``{"task", "n", "metrics", "intervals", "notes", "skipped"}``: n pairs.

    Raises:
        DataError: too many unreadable items.
        UsageError: no pairs.
    """
    if not items:
        raise UsageError("There is nothing to measure: the split has no pairs.", "Give a split with pairs.")
    found = pair_vectors(pair, items, batch_size)
    for side, why in found.bad[:5]:
        say(f"  skipped {side}: {why}")
    check_readable(len(found), found.pairs - len(found), max_bad)
    return {"skipped": found.pairs - len(found), **retrieval_report(found, pair.modalities)}


def retrieval_report(found: PairVectors, sides: tuple[str, str]) -> dict[str, Any]:
    """See :func:`measure_retrieval`."""
    both = ranks(*found.vectors, found.ids)
    metrics = recalls_of(both, DEPTHS, sides)
    mean = metrics.pop("mean_recall")
    intervals: dict[str, list[float] | None] = {}
    ways = ((sides[0], sides[1]), (sides[1], sides[0]))
    for (asking, asked), rank in zip(ways, both, strict=True):
        way = f"{asking}_to_{asked}"
        for depth in DEPTHS:
            name = f"{way}_recall_at_{depth}"
            intervals[name] = wilson(int((rank <= depth).sum()), len(rank))
        metrics[f"{way}_median_rank"] = float(np.median(rank))
        intervals[f"{way}_median_rank"] = interval(resampled_medians(rank))
    counts = [len(first_rows(found.ids[:, side])) for side in (0, 1)]
    of = " and ".join(f"{count:,} {NOUNS.get(side, side)}" for count, side in zip(counts, sides, strict=True))
    return {
        "task": RETRIEVAL,
        "n": len(found),
        "metrics": {**metrics, "mean_recall": mean},
        "intervals": intervals,
        "notes": [f"{len(found):,} pairs of {of}: each is looked for among all of the other side."],
    }


def load_labelled(
    data: str, modality: str, columns: Mapping[str, str], labels: Sequence[str] | None, registry: Registry
) -> DataSet:
    """Labelled inputs of one class each. Classes that the user's labels name in other letters are called as there.

    Raises:
        DataError: the labels are no classes.
    """
    dataset = load_dataset(data, registry=registry, modality=modality, columns=dict(columns))
    if dataset.task != "classification":
        raise DataError(
            f"{dataset.name} is data for {dataset.task}; zero-shot chooses one label for each input.",
            "Give data with one class name a sample.",
        )
    if labels is None:
        return dataset
    called = {_plain(label): label for label in labels}
    return dataclasses.replace(dataset, labels=tuple(called.get(_plain(name), name) for name in dataset.labels))


def run_pairs(path: Path, registry: Registry) -> DataSet:
    """The pairs that a run was pretrained on, read again by its configuration; says so where they have changed.

    Raises:
        DataError: they are gone.
    """
    from zoo.config import PretrainConfig
    from zoo.pretraining_data import read_source

    run = open_run(path)
    modality = str(registry.model(run.manifest["model_id"]).spec.input.modality)
    dataset = read_source(PretrainConfig(**run.config), modality, registry, "ignored")
    if not isinstance(dataset, DataSet):
        raise DataError(f"The data of {path} are no pairs.", "Give the run of a model of pairs.")
    if dataset.fingerprint != run.manifest.get("data", {}).get("fingerprint"):
        say(f"note: the data of {path} has changed since training; figures may differ from the run's own")
    return dataset


def _plain(label: str) -> str:
    """``"A cat"`` and ``"cat"`` are one class."""
    return ARTICLE.sub("", spoken(label)).casefold()
