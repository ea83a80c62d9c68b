"""Data without labels for a pretraining run: read by modality, then decoded as the objective wants it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.config import PretrainConfig
from zoo.console import say
from zoo.data.blocks import blocks, build_stream, documents
from zoo.data.corpus import Corpus, load_corpus
from zoo.data.dataset import DataSet
from zoo.data.pairs import load_pairs
from zoo.data.sources import load_dataset
from zoo.data.unlabelled import TASK, load_unlabelled
from zoo.pairs import sides
from zoo.prepared import Prepared, prepare
from zoo.protocols import Pipeline, Streams
from zoo.weights import LoadedBackbone
from zoo_registry.errors import DataError, UsageError
from zoo_registry.registry import Registry

SPLITS = ("train", "val")


@dataclass(frozen=True)
class Learning:
    """An objective put together with a backbone.

    Attributes:
        task: what the engine trains.
        pipeline: of the model.
        view: makes the objective's batches out of the pipeline's.
        packed: whether samples are blocks of one stream.
    """

    task: Any
    pipeline: Pipeline
    view: Pipeline
    packed: bool


def read_source(config: PretrainConfig, modality: str, registry: Registry, labels: str) -> Corpus | DataSet:
    """The data a configuration names: documents that are streamed, or samples or pairs one by one.

    Args:
        labels: what the objective makes of them (:class:`zoo_registry.specs.ObjectiveSpec`).

    Raises:
        UsageError: a column of second sides for a model that takes no pairs.
        ZooError: as the functions that read.
    """
    columns = {"input": config.input_column, "pair": config.pair_column, "split": config.split_column}
    settings: dict[str, Any] = {
        "registry": registry,
        "seed": config.seed,
        "val_fraction": config.val_fraction,
        "columns": {role: name for role, name in columns.items() if name},
        "allow_sample": config.sample,
    }
    if sides(modality):
        return load_pairs(config.data, modality=modality, max_bad=config.max_bad, **settings)
    if labels == "needed":
        return load_dataset(config.data, modality=modality, task="classification", **settings)
    if config.pair_column:
        raise UsageError(f"The model takes {modality} alone.", "Leave --pair-column out, or choose a model of pairs.")
    if modality == "text":
        return load_corpus(config.data, **settings)
    return load_unlabelled(config.data, modality=modality, watched=labels == "watched", **settings)


def classes_of(source: Corpus | DataSet) -> tuple[str, ...]:
    """Names of the classes in id order; empty where the data has none, or they were not read."""
    return () if isinstance(source, Corpus) else source.labels


def training_inputs(source: Corpus | DataSet) -> Iterable[Any]:
    """The raw items to train on, which can be gone through again."""
    return source.splits["train"] if isinstance(source, Corpus) else source.splits["train"].columns["input"]


def decoded(source: Corpus | DataSet, learning: Learning, config: PretrainConfig, loaded: LoadedBackbone) -> Prepared:
    """Both splits, decoded once and kept.

    Raises:
        UsageError: the model has no pipeline for data of this kind.
        DataError: a split with nothing in it, or too many items that cannot be read.
    """
    if isinstance(source, Corpus):
        return _streams(source, learning, config, loaded)
    return prepare(source, learning.view, config, SPLITS)


def _streams(corpus: Corpus, learning: Learning, config: PretrainConfig, loaded: LoadedBackbone) -> Prepared:
    """Token ids of every split, made once, in memory maps that may be larger than memory."""
    pipeline: Any = learning.pipeline
    if not isinstance(learning.pipeline, Streams):
        raise UsageError(
            f"Pretraining on texts needs a pipeline of tokens, which {loaded.model_id} has not.", "Choose a text model."
        )
    length = loaded.input.size[0]
    stores: dict[str, Any] = {}
    for split in SPLITS:
        folder = build_stream(
            corpus.splits[split],
            lambda texts: pipeline.pieces(texts, packed=learning.packed),
            key=f"{corpus.fingerprint}/{split}/{config.seed}/{config.val_fraction}/{pipeline.key}/{learning.packed}",
            say=say,
        )
        stores[split] = blocks(folder, length) if learning.packed else documents(folder)
        if not len(stores[split]):
            what = f"{length} tokens in a row" if learning.packed else "two tokens in a text"
            raise DataError(
                f"The {split} split of {corpus.name} has not even {what}.", "Give more text, or a shorter --max-length."
            )
        kind = f"blocks of {length} tokens" if learning.packed else f"texts of at most {length} tokens"
        say(f"  {split}: {len(stores[split]):,} {kind}")
        for note in corpus.splits[split].notes():
            say(f"  {split}: {note}")
    dataset = DataSet(
        name=corpus.name,
        origin=corpus.origin,
        modality="text",
        task=TASK,
        splits={},
        labels=(),
        fingerprint=corpus.fingerprint,
        notes=tuple(corpus.notes),
        sample=corpus.sample,
        path=corpus.path,
    )
    labels = {split: np.zeros(len(store), dtype=np.int64) for split, store in stores.items()}
    return Prepared(dataset, learning.view, {}, stores, labels)
