"""The finetuning recipe: name -> model and data -> stages -> run folder. The same for every modality.

``zoo.finetune(...)`` and ``zoo finetune`` end here; what happens inside a stage is :mod:`zoo.stages`.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import zoo
from zoo.config import FinetuneConfig, make_config
from zoo.console import say
from zoo.data.dataset import DataSet
from zoo.engine.optim import format_groups
from zoo.engine.runtime import Runtime
from zoo.measure import measure_run
from zoo.prepared import Prepared, prepare, read_dataset
from zoo.run import SCHEMA_VERSION, Run, check_free, new_folder, open_run, start_run, versions
from zoo.stages import Context, run_stage, train_groups
from zoo.strategies import STRATEGIES, Facts, Probe, Train, choose, resolved
from zoo.tasks import SupervisedTask
from zoo.trained import build_head, input_dict, pipeline_for, save_trained, write_meta
from zoo.weights import LoadedBackbone, identify_weights, load_backbone
from zoo_registry.errors import Interrupted, Terminated, UnknownName, UsageError, ZooError
from zoo_registry.registry import Registry

CPU_MICRO_BATCH = 16


@dataclass(frozen=True)
class FinetuneResult:
    """What a run came to.

    Attributes:
        run: the run folder.
        metrics: of the kept weights on the validation split.
    """

    run: Path
    metrics: dict[str, Any]


def finetune(model: str, data: str, *, output: str | Path | None = None, **options: Any) -> FinetuneResult:
    """Finetune a backbone on data: the Python form of ``zoo finetune``.

    Args:
        model: a model name, ``name@tag``, or a run folder to start from.
        data: a folder, table, ``hf:org/name`` or registered data-set name.
        output: run folder to make; ``runs/<time>-finetune-<model>-<data>`` if None.
        options: fields of :class:`zoo.config.FinetuneConfig`.

    Raises:
        ZooError: with its exit code, explained in two sentences.
    """
    config = make_config({"model": str(model), "data": str(data), **options})
    return run_finetune(config, output=Path(output) if output else None)


def run_finetune(config: FinetuneConfig, *, output: Path | None = None, show_groups: bool = False) -> FinetuneResult:
    """Start a run."""
    registry = zoo.default_registry()
    runtime = Runtime.create(config.precision or "fp32", config.device)
    if output is not None:
        check_free(output)
    _check_names(config, registry)
    model, weights = _model_of(config)
    identity = identify_weights(model, weights=weights, registry=registry, size=config.size)
    with runtime.main_first():
        dataset = read_dataset(config, identity.input.modality, registry)
        loaded = _load(model, weights, config, registry)
    config = _resolve(config, dataset, loaded, runtime)
    runtime = Runtime.create(config.precision or "fp32", config.device)
    data = _decode(dataset, loaded, config, registry, runtime)
    path = runtime.share(new_folder(output, "finetune", model, dataset.name) if runtime.is_main else Path())
    run = Run(path, config.model_dump(), _manifest(config, dataset, loaded, registry))
    if runtime.is_main:
        start_run(run)
    say(f"run: {path}")
    return _train(run, config, data, loaded, registry, runtime, resume=False, show_groups=show_groups)


def resume_finetune(path: str | Path) -> FinetuneResult:
    """Go on with an unfinished run exactly where its last checkpoint stands.

    Raises:
        UsageError: the folder is no run, or its data changed since.
    """
    run = open_run(path)
    if run.manifest.get("status") == "finished":
        say(f"{run.path} is finished; nothing is left to do")
        return FinetuneResult(run.path, run.manifest["metrics"])
    registry = zoo.default_registry()
    config = make_config(run.config)
    runtime = Runtime.create(config.precision or "fp32", config.device)
    with runtime.main_first():
        dataset = read_dataset(config, run.manifest["modality"], registry)
        loaded = _load(*_model_of(config), config, registry)
    if dataset.fingerprint != run.manifest["data"]["fingerprint"]:
        raise UsageError(
            f"The data of {run.path} has changed since the run began, so it cannot go on exactly.",
            "Restore the data, or start a new run.",
        )
    if loaded.sha256 != run.manifest["weights"]["sha256"]:
        raise UsageError(
            f"The pretrained weights of {run.path} are not the ones it began with.",
            "Restore them, or start a new run.",
        )
    if (threads := run.manifest.get("threads", torch.get_num_threads())) != torch.get_num_threads():
        say(f"note: the run began with {threads} threads; with {torch.get_num_threads()} its last bits may differ")
    data = _decode(dataset, loaded, config, registry, runtime)
    _mark(run, runtime, "running")
    say(f"run: {run.path} (resumed)")
    return _train(run, config, data, loaded, registry, runtime, resume=True)


def _check_names(config: FinetuneConfig, registry: Registry) -> None:
    """Wrong names fail before anything is read or fetched."""
    if config.strategy is not None:
        choose(config.strategy, pretrained=True)
    if config.head is not None:
        registry.head(config.head)


def _model_of(config: FinetuneConfig) -> tuple[str, str | None]:
    """(model name, weights): a run folder stands for its model with its trained weights."""
    folder = Path(config.model)
    if config.weights is None and (folder / "model" / "model.json").is_file():
        meta = json.loads((folder / "model" / "model.json").read_text(encoding="utf-8"))
        return meta["model_id"], str(folder)
    return config.model, config.weights


def _load(model: str, weights: str | None, config: FinetuneConfig, registry: Registry) -> LoadedBackbone:
    torch.manual_seed(config.seed)  # random weights, and the head after them, are a function of the seed
    return load_backbone(model, weights=weights, registry=registry, size=config.size)


def _decode(
    dataset: DataSet, loaded: LoadedBackbone, config: FinetuneConfig, registry: Registry, runtime: Runtime
) -> Prepared:
    """Before a run folder is made, so that bad data leaves none behind."""
    pipeline = pipeline_for(loaded.model_id, loaded.input, registry)
    with runtime.main_first():
        return prepare(dataset, pipeline, config, ("train", "val"))


def _resolve(config: FinetuneConfig, dataset: DataSet, loaded: LoadedBackbone, runtime: Runtime) -> FinetuneConfig:
    """Every choice left open, made from the facts of this run, said, and enough to repeat it."""
    pretrained = loaded.weights_id != "none"
    strategy = choose(config.strategy, pretrained=pretrained)
    precision = config.precision or runtime.best_precision()
    say(f"strategy: {strategy} on {runtime.device.type} in {precision}")
    if config.strategy is None and not pretrained:
        say("strategy: random weights leave nothing for lp-ft to keep, so everything is trained from the start")
    facts = Facts(len(dataset.splits["train"]), pretrained, len(loaded.backbone.layer_groups()) + 1)
    values: dict[str, Any] = {
        "model": loaded.model_id,
        "weights": _pinned_weights(config, loaded),
        # A name may mean other data tomorrow, or where ZOO_DATA_PATH is not set; a path does not.
        "data": dataset.path or config.data,
        "strategy": strategy,
        "task": dataset.task,
        "device": runtime.device.type,
        "precision": precision,
    }
    stages = STRATEGIES[strategy](config, facts)
    for stage in stages:
        if isinstance(stage, Probe):
            say(f"head: {len(stage.grid)} heads side by side, {stage.epochs:g} epochs, batch {stage.batch_size}")
        else:
            if runtime.device.type == "cpu" and stage.batchnorm == "frozen":
                # The same gradient from a fraction of the memory, and CPUs gain nothing from larger pieces.
                values["micro_batch"] = config.micro_batch or min(CPU_MICRO_BATCH, stage.batch_size)
            lowest = stage.lr * stage.layer_decay ** (facts.groups - 1)
            say(
                f"main: {stage.epochs:g} epochs, batch {stage.batch_size}, learning rate {stage.lr:g} at the head down "
                f"to {lowest:.0e} at the input, BatchNorm statistics {stage.batchnorm}"
            )
    return config.model_copy(update={**values, **resolved(stages)})


def _pinned_weights(config: FinetuneConfig, loaded: LoadedBackbone) -> str:
    """The weights, said so that they mean the same tomorrow and from another folder."""
    _, weights = _model_of(config)
    if weights is not None and Path(weights).exists():
        return str(Path(weights).resolve())
    return loaded.weights_id.partition("@")[2] or loaded.weights_id


def _manifest(config: FinetuneConfig, dataset: DataSet, loaded: LoadedBackbone, registry: Registry) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "verb": "finetune",
        "command": sys.argv,
        "model_id": loaded.model_id,
        "modality": dataset.modality,
        "weights": {"id": loaded.weights_id, "sha256": loaded.sha256, "source": loaded.source},
        "plugin": {"name": loaded.plugin, "version": loaded.plugin_version},
        "data": {
            "name": dataset.name,
            "origin": dataset.origin,
            "sample": dataset.sample,
            "fingerprint": dataset.fingerprint,
            "sizes": {split: len(table) for split, table in dataset.splits.items()},
            "labels": list(dataset.labels),
            "notes": list(dataset.notes),
        },
        "seed": config.seed,
        "device": config.device,
        "threads": torch.get_num_threads(),
        "device_name": torch.cuda.get_device_name() if config.device == "cuda" else None,
        "versions": versions(*registry.model(loaded.model_id).spec.requires),
    }


def _train(
    run: Run,
    config: FinetuneConfig,
    data: Prepared,
    loaded: LoadedBackbone,
    registry: Registry,
    runtime: Runtime,
    *,
    resume: bool,
    show_groups: bool = False,
) -> FinetuneResult:
    began = time.monotonic()
    dataset, pipeline = data.dataset, data.pipeline
    task, head_name = _task(config, dataset, data.labels["train"], loaded, registry)
    facts = Facts(len(dataset.splits["train"]), loaded.weights_id != "none", len(task.layer_groups()))
    stages = STRATEGIES[config.strategy or "lp-ft"](config, facts)
    meta = {
        "model_id": loaded.model_id,
        "weights_id": loaded.weights_id,
        "weights_sha256": loaded.sha256,
        "plugin": loaded.plugin,
        "plugin_version": loaded.plugin_version,
        "head": head_name,
        "task": dataset.task,
        "labels": list(dataset.labels),
        "input": input_dict(loaded.input),
        "input_name": pipeline.input_name,
        "preprocessing": pipeline.describe(),
        "versions": run.manifest["versions"],
        "data": {key: run.manifest["data"][key] for key in ("name", "origin", "fingerprint", "sample")},
    }
    if runtime.is_main:
        write_meta(run.path / "model", meta)
    context = Context(run, config, task, data, runtime, resume)
    if show_groups:
        for stage in stages:
            if isinstance(stage, Train):
                say(format_groups(train_groups(stage, context)))
    try:
        for number, stage in enumerate(stages):
            logits = run_stage(stage, context, after=stages[:number])
    except (Interrupted, Terminated) as stop:
        _mark(run, runtime, "interrupted")
        raise type(stop)(f"{stop.problem}", f"Go on with: zoo finetune --resume {run.path}") from None
    except ZooError:
        _mark(run, runtime, "failed")
        raise
    task.eval()
    if runtime.is_main:
        save_trained(run.path / "model", task, meta)
    metrics = measure_run(run, task, data, runtime, logits, seconds=time.monotonic() - began)
    if runtime.is_main:
        seconds = round(time.monotonic() - began, 1)
        finished = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        run.update_manifest(status="finished", finished=finished, seconds=seconds, metrics=metrics)
        _summary(run, dataset, metrics)
    return FinetuneResult(run.path, metrics)


def _mark(run: Run, runtime: Runtime, status: str) -> None:
    if runtime.is_main:
        run.update_manifest(status=status)


def _task(
    config: FinetuneConfig, dataset: DataSet, labels: np.ndarray, loaded: LoadedBackbone, registry: Registry
) -> tuple[SupervisedTask, str]:
    """The backbone with a new head, and the head's name.

    Raises:
        UsageError: the asked-for head serves another task.
        UnknownName: no installed head serves the data's task.
    """
    fitting = registry.heads_for(dataset.task, dataset.modality)
    if config.head:
        entry = registry.head(config.head)
        if entry.id not in {e.id for e in fitting}:
            raise UsageError(
                f"The head {config.head} does {entry.spec.task}, but the data is for {dataset.task}.",
                f"Leave --head out, or force the task with --task {entry.spec.task}.",
            )
    elif fitting:
        entry = fitting[0]
    else:
        raise UnknownName(f"No installed plugin has a head for {dataset.task}.", "See: zoo plugins")
    torch.manual_seed(config.seed)
    options: dict[str, Any] = {"dropout": config.dropout}
    if dataset.task == "classification":
        options["label_smoothing"] = config.label_smoothing
    if dataset.task == "regression":
        options |= {"mean": float(labels.mean()), "std": float(labels.std()) or 1.0}
    head = build_head(entry.id, loaded.backbone.dim, dataset.labels, registry, **options)
    return SupervisedTask(loaded.backbone, head), entry.id


def _summary(run: Run, dataset: DataSet, metrics: dict[str, Any]) -> None:
    """What a person wants to know when it is over."""
    evaluation = json.loads((run.path / "evaluation.json").read_text(encoding="utf-8"))
    say("")
    if dataset.sample:
        say(f"NOTE: this is the {dataset.origin}; its figures say nothing about real data.")
    for name, value in metrics.items():
        interval = evaluation["intervals"].get(name)
        say(
            f"{name:18} {value:.4f}" + (f"  (95 % interval {interval[0]:.4f} to {interval[1]:.4f})" if interval else "")
        )
    say(f"on {evaluation['n']:,} validation samples, which also chose the best weights")
    say(f"report:  {run.path / 'report.html'}")
    say(f"predict: zoo predict {run.path} INPUT...")
    say(f"export:  zoo export {run.path} -o DIR")
