"""``zoo evaluate --probe``: what a frozen backbone's features are worth, by their neighbours or a linear layer."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import zoo
from zoo import launch
from zoo.config import FinetuneConfig, make_config
from zoo.console import say
from zoo.data.dataset import DataSet
from zoo.data.splits import cut_validation
from zoo.engine.runtime import Runtime
from zoo.features import compute_features, state_hash
from zoo.headfit import fit_heads
from zoo.kinds import Outcome, kind_of
from zoo.measure import SCHEMA_VERSION, by_input
from zoo.neighbours import NEIGHBOURS, TEMPERATURE, knn_scores
from zoo.prepared import Prepared, prepare, read_dataset
from zoo.run import open_run
from zoo.strategies import probe as probe_stage
from zoo.towers import one_side, run_model
from zoo.trained import build_head, pipeline_for
from zoo_registry.errors import DataError, UsageError
from zoo_registry.registry import Registry

TASK = "classification"
FIELD = "pooled"
HELD_OUT = 0.2  # of the training split, to choose a linear head by
OF_DATA = (
    *("data", "input_column", "pair_column", "label_column", "split_column"),
    *("task", "val_fraction", "sample", "seed"),
)
"""Fields of a run's configuration that decide what its data are, and how they are split."""


def probe(
    target: str | Path,
    data: str | Path | None = None,
    method: str = "knn",
    *,
    split: str = "val",
    weights: str | None = None,
    size: int | None = None,
    columns: Mapping[str, str] | None = None,
    max_bad: float = 0.05,
    seed: int = 0,
    registry: Registry | None = None,
) -> dict[str, Any]:
    """Measure frozen pooled features on labelled data; nothing of the backbone is trained.

    - ``"knn"``: the 20 nearest training samples vote (:func:`knn_scores`);
    - ``"linear"``: the grid of linear heads of a finetune's head stage. Which of them is chosen on a stratified 20 %
      of the training split; that one is then trained again on all of it. Neither sees the split that is measured.

    Args:
        target: a run of any verb, its ``model/`` folder, or a model name, with its default weights or ``@tag``. Of a
            model of pairs the side that the data are for.
        data: as for finetuning; None: the data of a finetuning run.
        split: ``"val"`` or another that the data has besides ``"train"``.
        weights: of a model name: a tag, a file, a run, or ``"none"`` for random numbers, which features must beat.
        size: of input images in pixels, instead of the model's own.
        columns: ``{"input": ..., "pair": ..., "label": ...}`` where a table's names do not tell.
        max_bad: largest share of unreadable inputs that is skipped.
        seed: of the cut, of the heads and of random weights.

    Returns:
        ``{"schema_version", "target", "probe", "data", "split", "labels", "notes", "task", "n", "metrics",
        "intervals", ...}``: what :func:`zoo.evaluate` returns, and how it was found.

    Raises:
        UsageError: no such method, an export, a run without ``data``, or labels that are no classes.
        DataError: data without labels, or no such split.
    """
    if method not in METHODS:
        raise UsageError(f"There is no probe {method!r}.", f"The probes are {', '.join(METHODS)}.")
    if split in ("train", "all"):
        raise UsageError(
            "A probe learns from the training split, so it cannot be measured on it.", "Give --split val or test."
        )
    registry = registry or zoo.default_registry()
    named = {f"{kind}_column": name for kind, name in (columns or {}).items()}
    given = {"weights": weights, "size": size, "max_bad": max_bad, "seed": seed, **named}
    config = one_side(_config(target, data, given, registry), registry)
    frozen = _frozen(config, split, registry)
    answers = METHODS[method](frozen, config)
    labels = frozen.data.dataset.labels
    outcome = Outcome(answers.scores.numpy(), truth=frozen.data.labels[split][answers.rows])
    return {
        "schema_version": SCHEMA_VERSION,
        "target": str(target),
        "backend": "torch",
        "probe": method,
        "model": frozen.model,
        "weights": frozen.weights,
        "data": frozen.data.dataset.origin,
        "split": split,
        "skipped": len(frozen.data.stores[split].bad),
        "labels": list(labels),
        **kind_of(TASK).report(outcome, labels),
        "notes": [answers.note],
    }


@dataclass(frozen=True)
class _Frozen:
    """Features of two splits of labelled data.

    Attributes:
        features: split -> (n, D) float32, rows as in the split's store.
        split: the one to measure.
    """

    model: str
    weights: str
    data: Prepared
    features: dict[str, np.ndarray]
    split: str
    registry: Registry
    runtime: Runtime


@dataclass(frozen=True)
class _Answers:
    """What a probe makes of the measured split.

    Attributes:
        scores: (n, C) probabilities, one row an input.
        rows: (n,) the first row of each input in the split's store.
        note: how they were found.
    """

    scores: torch.Tensor
    rows: np.ndarray
    note: str


def _config(target: str | Path, data: str | Path | None, given: dict[str, Any], registry: Registry) -> FinetuneConfig:
    """The probe as the finetune that it is the beginning of."""
    values = {"model": str(target), "data": str(data), **{k: v for k, v in given.items() if v is not None}}
    if model := run_model(target):
        if "weights" in values:
            raise UsageError(f"{target} is a run, which has weights of its own.", "Leave --weights out.")
        values |= {"model": model, "weights": str(target)}
        if data is None:
            values |= _own_data(Path(target))
    elif Path(target).exists() and registry.means(str(target)) is None:
        raise UsageError(
            f"{target} is no run, so it has no backbone to probe.",
            "Give a run folder that finished, or a model by name; an export and a checkpoint are measured without "
            "--probe.",
        )
    elif data is None:
        raise UsageError("A model by name has no data of its own.", "Add --data with labelled data.")
    return make_config(FinetuneConfig, values)


def _own_data(target: Path) -> dict[str, Any]:
    """The fields of a finetuning run's configuration that say what it learned from.

    Raises:
        UsageError: it learned from data without labels, or this is a model folder apart from its run.
    """
    folder = next((f for f in (target, target.resolve().parent) if (f / "manifest.json").is_file()), None)
    if folder is None:
        raise UsageError(f"{target} has no data of its own.", "Add --data with labelled data.")
    run = open_run(folder)
    if run.manifest.get("verb") == "pretrain":
        raise UsageError(f"{target} was pretrained, so it has no labelled data.", "Add --data with labelled data.")
    return {name: run.config[name] for name in OF_DATA if run.config.get(name) is not None}


def _frozen(config: FinetuneConfig, split: str, registry: Registry) -> _Frozen:
    """Both splits through the frozen backbone, once, or from the cache."""
    runtime = Runtime.create("fp32", None)
    precision = runtime.best_precision()
    modality = launch.identify(config, registry).input.modality
    with runtime.main_first():
        dataset = read_dataset(config, modality, registry)
        _check(dataset, split)
        loaded = launch.load(config, registry, lambda: dataset.splits["train"].columns["input"])
    pipeline = pipeline_for(loaded.model_id, loaded.input, registry, backbone=loaded.backbone)
    with runtime.main_first():
        data = prepare(dataset, pipeline, config, ("train", split))
    backbone: Any = loaded.backbone
    backbone.to(runtime.device).eval()
    if pipeline.modality == "image":
        backbone.to(memory_format=torch.channels_last)
    weights = state_hash(backbone.module)
    features = {
        part: np.array(compute_features(backbone, weights, data, part, FIELD, runtime, precision))
        for part in ("train", split)
    }
    return _Frozen(loaded.model_id, loaded.weights_id, data, features, split, registry, runtime)


def _check(dataset: DataSet, split: str) -> None:
    if dataset.task != TASK:
        raise UsageError(
            f"A probe tells classes apart, but the data is for {dataset.task}.",
            "Give data with one class a sample, or finetune: zoo finetune.",
        )
    if split not in dataset.splits:
        known = ", ".join(name for name in dataset.splits if name != "train")
        raise DataError(f"{dataset.name} has no split {split!r}.", f"It has: {known}.")


def _knn(frozen: _Frozen, config: FinetuneConfig) -> _Answers:
    device = frozen.runtime.device
    train, queries = (torch.from_numpy(frozen.features[part]).to(device) for part in ("train", frozen.split))
    labels = torch.from_numpy(frozen.data.labels["train"]).to(device)
    shares = knn_scores(train, labels, queries, len(frozen.data.dataset.labels)).cpu()
    scores, rows = by_input(TASK, shares, frozen.data, frozen.split)
    k = min(NEIGHBOURS, len(train))
    note = f"knn: {k} neighbours among {len(train):,} training samples, weighted by exp(similarity / {TEMPERATURE})"
    return _Answers(scores, rows, note)


def _linear(frozen: _Frozen, config: FinetuneConfig) -> _Answers:
    train, truth = frozen.features["train"], frozen.data.labels["train"]
    names = frozen.data.dataset.labels
    torch.manual_seed(config.seed)
    head = build_head("core/classification", train.shape[1], names, frozen.registry)
    fitted, held = _cut(frozen.data, config.seed)
    stage = probe_stage(len(fitted))
    say(f"linear: {len(stage.grid)} heads on {len(fitted):,} training samples, chosen on {len(held):,} others")
    with tempfile.TemporaryDirectory() as folder:
        chosen = fit_heads(
            head,
            stage,
            {"train": train[fitted], "val": train[held]},
            {"train": truth[fitted], "val": truth[held]},
            config,
            runtime=frozen.runtime,
            folder=Path(folder, "choose"),
            quiet=True,
        )
        alone = dataclasses.replace(probe_stage(len(train)), grid=((chosen.lr, chosen.weight_decay),))
        # Watched on what it learns from, and only at the end: there is nothing left to choose.
        final = fit_heads(
            head,
            alone,
            {"train": train, "val": frozen.features["train"]},
            {"train": truth, "val": truth},
            config,
            runtime=frozen.runtime,
            folder=Path(folder, "all"),
            evaluations=1,
            quiet=True,
        )
    with torch.no_grad():
        logits = final.head.eval().linear(torch.from_numpy(frozen.features[frozen.split]))
    logits, rows = by_input(TASK, logits, frozen.data, frozen.split)
    note = (
        f"linear: learning rate {chosen.lr:g} and weight decay {chosen.weight_decay:g} were the best of "
        f"{len(stage.grid)} on {len(held):,} samples cut from the training split (accuracy "
        f"{chosen.metrics['accuracy']:.4f}); the head was then trained on all {len(train):,}. The {frozen.split} split "
        "chose nothing."
    )
    return _Answers(logits.softmax(dim=1), rows, note)


def _cut(data: Prepared, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the training store to fit heads on, and to choose one by; all windows of a recording stay together."""
    store = data.stores["train"]
    column = data.tables["train"].columns["owner"]
    owners = np.asarray([column[row] for row in store.kept])
    inputs, first = np.unique(owners, return_index=True)
    _, held = cut_validation(data.labels["train"][first].tolist(), TASK, seed, HELD_OUT)
    chosen = np.isin(owners, inputs[held])
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


METHODS: dict[str, Callable[[_Frozen, FinetuneConfig], _Answers]] = {
    "knn": _knn,
    "linear": _linear,
}
