"""The finetuning recipe: name -> model and data -> stages -> run folder. The same for every modality.

``zoo.finetune(...)`` and ``zoo finetune`` end here; what happens inside a stage is :mod:`zoo.stages`.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import zoo
from zoo import launch
from zoo.capabilities import require
from zoo.config import FinetuneConfig, make_config
from zoo.console import say
from zoo.data.dataset import DataSet
from zoo.engine import batchnorm
from zoo.engine.optim import format_groups
from zoo.engine.runtime import Runtime
from zoo.launch import RunResult
from zoo.measure import measure_run
from zoo.prepared import Prepared, prepare, read_dataset
from zoo.run import Run, check_free, open_run, write_json
from zoo.stages import Context, run_stage, train_groups
from zoo.strategies import STRATEGIES, Facts, Probe, Train, choose, resolved
from zoo.tasks import SupervisedTask
from zoo.towers import one_side
from zoo.trained import build_head, pipeline_for, save_trained
from zoo.weights import LoadedBackbone
from zoo_registry.builders import load_builder
from zoo_registry.errors import UnknownName, UsageError
from zoo_registry.registry import Entry, Registry

CPU_MICRO_BATCH = 16


def finetune(model: str, data: str, *, output: str | Path | None = None, **options: Any) -> RunResult:
    """Finetune a backbone on data: the Python form of ``zoo finetune``.

    Args:
        model: a model name, ``name@tag``, or a run folder to start from.
        data: a folder, table, ``hf:org/name`` or registered data-set name.
        output: run folder to make; ``runs/<time>-finetune-<model>-<data>`` if None.
        options: fields of :class:`zoo.config.FinetuneConfig`.

    Raises:
        ZooError: with its exit code, explained in two sentences.
    """
    config = make_config(FinetuneConfig, {"model": str(model), "data": str(data), **options})
    return run_finetune(config, output=Path(output) if output else None)


def run_finetune(config: FinetuneConfig, *, output: Path | None = None, show_groups: bool = False) -> RunResult:
    """Start a run."""
    registry = zoo.default_registry()
    runtime = Runtime.create(config.precision or "fp32", config.device)
    if output is not None:
        check_free(output)
    _check_names(config, registry)
    config = one_side(config, registry)
    identity = launch.identify(config, registry)
    with runtime.main_first():
        dataset = read_dataset(config, identity.input.modality, registry)
        loaded = launch.load(config, registry, lambda: dataset.splits["train"].columns["input"])
    task, head = _task(config, dataset, loaded, registry)
    _begin(task, head, loaded, registry, runtime)
    config = _resolve(config, dataset, loaded, task, head, runtime)
    runtime = Runtime.create(config.precision or "fp32", config.device)
    data = _decode(dataset, loaded, head, config, registry, runtime)
    sizes = {split: len(table) for split, table in dataset.splits.items()}
    run = launch.create("finetune", config, dataset, sizes, loaded, registry, runtime, output)
    return _train(run, config, data, loaded, task, head, runtime, resume=False, show_groups=show_groups)


def resume_finetune(path: str | Path) -> RunResult:
    """Go on with an unfinished run exactly where its last checkpoint stands.

    Raises:
        UsageError: the folder is no run, or its data changed since.
    """
    run = open_run(path)
    if run.manifest.get("status") == "finished":
        say(f"{run.path} is finished; nothing is left to do")
        return RunResult(run.path, run.manifest["metrics"])
    registry = zoo.default_registry()
    config = make_config(FinetuneConfig, run.config)
    runtime = Runtime.create(config.precision or "fp32", config.device)
    with runtime.main_first():
        dataset = read_dataset(config, run.manifest["modality"], registry)
        inputs = dataset.splits["train"].columns["input"]
        loaded = launch.load(config, registry, lambda: inputs, saved=run.path / "model")
    launch.check_unchanged(run, dataset.fingerprint, loaded)
    task, head = _task(config, dataset, loaded, registry)
    _begin(task, head, loaded, registry, runtime)  # it may be stopped before its first checkpoint
    data = _decode(dataset, loaded, head, config, registry, runtime)
    say(f"run: {run.path} (resumed)")
    return _train(run, config, data, loaded, task, head, runtime, resume=True)


def _check_names(config: FinetuneConfig, registry: Registry) -> None:
    """Wrong names fail before anything is read or fetched."""
    if config.strategy is not None:
        choose(config.strategy, pretrained=True)
    if config.head is not None:
        registry.head(config.head)


def _decode(
    dataset: DataSet,
    loaded: LoadedBackbone,
    head: Entry,
    config: FinetuneConfig,
    registry: Registry,
    runtime: Runtime,
) -> Prepared:
    """Before a run folder is made, so that bad data leaves none behind."""
    pipeline = pipeline_for(loaded.model_id, loaded.input, registry, head.id, loaded.backbone)
    with runtime.main_first():
        return prepare(dataset, pipeline, config, ("train", "val"))


def _begin(task: SupervisedTask, head: Entry, loaded: LoadedBackbone, registry: Registry, runtime: Runtime) -> None:
    """Let the head begin with more than random numbers, where its record says how."""
    spec = head.spec
    if spec.start:
        with runtime.main_first():
            load_builder(spec.start, spec.requires, spec.extra)(task.head, loaded, registry)


def _facts(dataset: DataSet, loaded: LoadedBackbone, task: SupervisedTask, head: Entry) -> Facts:
    return Facts(
        samples=len(dataset.splits["train"]),
        pretrained=loaded.weights_id != "none",
        groups=len(task.layer_groups()),
        probe=_probeable(task),
        modality=dataset.modality,
        dim=loaded.backbone.dim,
        foreign=_usual_strategy(loaded) == "full",
        begun=bool(head.spec.start),
    )


def _usual_strategy(loaded: LoadedBackbone) -> str:
    """How the model is finetuned where nobody says. Weights of a run were made for the inputs they are given."""
    return "" if loaded.source.startswith("run ") else loaded.backbone.spec.strategy


def _probeable(task: SupervisedTask) -> bool:
    """Whether heads can be trained side by side on pooled features that are computed once."""
    head: Any = task.head
    return head.uses == ("pooled",) and not task.batch_coupled and any(True for _ in head.parameters())


def _resolve(
    config: FinetuneConfig,
    dataset: DataSet,
    loaded: LoadedBackbone,
    task: SupervisedTask,
    head: Entry,
    runtime: Runtime,
) -> FinetuneConfig:
    """Every choice left open, made from the facts of this run, said, and enough to repeat it."""
    facts = _facts(dataset, loaded, task, head)
    # Heads trained side by side would leave behind what this one begins with.
    usual = "full" if facts.begun else _usual_strategy(loaded)
    strategy = choose(config.strategy, pretrained=facts.pretrained, probe=facts.probe, usual=usual)
    precision = config.precision or runtime.best_precision()
    say(f"strategy: {strategy} on {runtime.device.type} in {precision}")
    if config.strategy is None and not facts.pretrained:
        say("strategy: random weights leave nothing for lp-ft to keep, so everything is trained from the start")
    elif config.strategy is None and facts.begun:
        say("strategy: the head begins with what the model knows of the labels; all is trained gently from there")
    elif config.strategy is None and facts.foreign and facts.probe:
        say("strategy: the pretrained weights were made for other inputs, so everything is trained from the start")
    values: dict[str, Any] = {
        "model": loaded.model_id,
        "weights": launch.pinned_weights(config, loaded),
        # A name may mean other data tomorrow, or where ZOO_DATA_PATH is not set; a path does not.
        "data": dataset.path or config.data,
        "strategy": strategy,
        "task": dataset.task,
        "device": runtime.device.type,
        "precision": precision,
        **launch.pinned_input(loaded),
    }
    stages = STRATEGIES[strategy](config, facts)
    if config.wise_ft is not None and not any(isinstance(stage, Train) for stage in stages):
        raise UsageError(
            f"The strategy {strategy} trains nothing end to end, so --wise-ft has nothing to mix.",
            "Choose --strategy full or lp-ft, or leave --wise-ft out.",
        )
    if config.find_lr and not any(isinstance(stage, Train) for stage in stages):
        raise UsageError(
            f"The strategy {strategy} trains nothing end to end, so --find-lr has nothing to search for.",
            "Choose --strategy full or lp-ft, or leave --find-lr out.",
        )
    for stage in stages:
        if isinstance(stage, Probe):
            say(f"head: {len(stage.grid)} heads side by side, {stage.epochs:g} epochs, batch {stage.batch_size}")
        else:
            if runtime.device.type == "cpu" and stage.batchnorm == "frozen" and not task.batch_coupled:
                # The same gradient from a fraction of the memory, and CPUs gain nothing from larger pieces.
                values["micro_batch"] = config.micro_batch or min(CPU_MICRO_BATCH, stage.batch_size)
            lowest = stage.lr * stage.layer_decay ** (facts.groups - 1)
            say(
                f"main: {stage.epochs:g} epochs, {_batch_text(config, stage)}, "
                + (
                    f"a learning rate to be found, of which {lowest / stage.lr:.2g} at the input"
                    if config.find_lr
                    else f"learning rate {stage.lr:g} at the head down to {lowest:.0e} at the input"
                )
                + (f", BatchNorm statistics {stage.batchnorm}" if _normalises_batches(task) else "")
            )
    # Validated, not copied: a resumed run reads 6 back as 6.0, and must find the configuration it began with.
    chosen = resolved(stages) | ({"lr": None} if config.find_lr else {})
    return make_config(FinetuneConfig, {**config.model_dump(), **values, **chosen})


def _batch_text(config: FinetuneConfig, stage: Train) -> str:
    if config.batch_seconds:
        return f"batches of {config.batch_seconds:g} s"
    return f"batches of {config.batch_tokens:,} tokens" if config.batch_tokens else f"batch {stage.batch_size}"


def _normalises_batches(task: SupervisedTask) -> bool:
    return any(True for _ in batchnorm.layers(task))


def _train(
    run: Run,
    config: FinetuneConfig,
    data: Prepared,
    loaded: LoadedBackbone,
    task: SupervisedTask,
    head: Entry,
    runtime: Runtime,
    *,
    resume: bool,
    show_groups: bool = False,
) -> RunResult:
    began = time.monotonic()
    dataset, pipeline = data.dataset, data.pipeline
    stages = STRATEGIES[config.strategy or "lp-ft"](config, _facts(dataset, loaded, task, head))
    meta = launch.describe(run, loaded, pipeline, head=head.id, task=dataset.task, labels=list(dataset.labels))
    if runtime.is_main:
        launch.begin_model(run, meta, pipeline, loaded.backbone)
    context = Context(run, config, task, data, runtime, resume)
    if show_groups:
        for stage in stages:
            if isinstance(stage, Train):
                say(format_groups(train_groups(stage, context)["main"]))
    with launch.status_kept(run, runtime):
        for number, stage in enumerate(stages):
            logits = run_stage(stage, context, after=stages[:number])
    task.eval()
    if runtime.is_main:
        save_trained(run.path / "model", {"backbone": task.backbone.module, "head": task.head}, meta)
    metrics = measure_run(run, task, data, runtime, logits, seconds=time.monotonic() - began)
    launch.finish(run, runtime, metrics, began)
    if runtime.is_main:
        _note_mixture(run)
        _summary(run, dataset, metrics)
    return RunResult(run.path, metrics)


def _task(
    config: FinetuneConfig, dataset: DataSet, loaded: LoadedBackbone, registry: Registry
) -> tuple[SupervisedTask, Entry]:
    """The backbone with a new head, and the head's record.

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
        entry = _usual_head(fitting)
    else:
        raise UnknownName(f"No installed plugin has a head for {dataset.task}.", "See: zoo plugins")
    torch.manual_seed(config.seed)
    options: dict[str, Any] = {}
    if config.dropout:
        options["dropout"] = config.dropout
    if dataset.task == "classification":
        options["label_smoothing"] = config.label_smoothing
    if dataset.task == "regression":
        values = np.array(dataset.splits["train"].columns["label"], dtype=np.float32)
        options |= {"mean": float(values.mean()), "std": float(values.std()) or 1.0}
    if dataset.task == "embedding" and isinstance(dataset.splits["train"].columns["label"][0], float):
        scores = dataset.splits["train"].columns["label"]
        options |= {"lo": min(scores), "hi": max(scores)}
    if dataset.task == "speaker-verification":
        options["known"] = 1 + max(dataset.splits["train"].columns["label"])
    head = build_head(entry.id, loaded.backbone.dim, dataset.labels, registry, **options)
    require(loaded.backbone, getattr(head, "needs", ()), f"The head {entry.id}")
    return SupervisedTask(loaded.backbone, head), entry


def _usual_head(fitting: list[Entry]) -> Entry:
    """Of the first provider's heads the one on pooled features, where it has one: every backbone gives those, and they
    can be computed once."""
    own = [entry for entry in fitting if entry.plugin.distribution == fitting[0].plugin.distribution]
    return next((entry for entry in own if entry.spec.uses == ("pooled",)), own[0])


def _note_mixture(run: Run) -> None:
    """What the mixtures of WiSE-FT were worth stands beside the other figures."""
    if mixture := run.manifest.get("wise_ft"):
        path = run.path / "evaluation.json"
        write_json(path, {**json.loads(path.read_text(encoding="utf-8")), "wise_ft": mixture})


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
