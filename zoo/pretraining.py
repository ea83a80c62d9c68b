"""The pretraining recipe: name -> model, objective and data without labels -> one stage -> run folder.

``zoo.pretrain(...)`` and ``zoo pretrain`` end here. The run folder is a model to finetune: ``zoo finetune RUN``.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np

import zoo
from zoo import launch
from zoo.capabilities import require
from zoo.config import PretrainConfig, make_config
from zoo.console import say
from zoo.data.batches import Eval
from zoo.engine.checkpoint import Checkpoints
from zoo.engine.coupled import splittable
from zoo.engine.logger import PICTURES
from zoo.engine.runtime import Runtime
from zoo.engine.saving import last_name
from zoo.kinds import Outcome
from zoo.launch import RunResult
from zoo.lr_finder import kept_search
from zoo.measure import events_of
from zoo.prepared import FORWARD_SECONDS, Prepared, forward_size
from zoo.pretraining_data import Learning, classes_of, decoded, read_source, training_inputs
from zoo.protocols import Autoregressive, FitsData, Windowed
from zoo.report import write_report
from zoo.run import Run, check_free, open_run, write_json
from zoo.stages import Context, train_all
from zoo.strategies import Train
from zoo.trained import pipeline_for, save_trained
from zoo.weights import LoadedBackbone
from zoo.weights.resolve import RANDOM
from zoo_registry.builders import load_builder
from zoo_registry.errors import UsageError, ZooError
from zoo_registry.registry import Entry, Registry

SCHEMA_VERSION = 1
STEPS = 5_000  # what an epoch count is chosen for, where the data is small
SMALLEST_BATCH, LARGEST_BATCH = 8, 64
COUPLED_BATCH = 16, 256  # of a loss for which the others of a batch are what a sample is told from
CPU_MICRO_BATCH = 32
PICTURE = 224 * 224  # pixels of those that so many of are taken at once
CODE_SECONDS = 2  # of sound that a CPU's memory takes at once where every sample of it is guessed


def pretrain(
    model: str, data: str, objective: str | None = None, *, output: str | Path | None = None, **settings: Any
) -> RunResult:
    """Pretrain a backbone: the Python form of ``zoo pretrain``.

    Args:
        model: a model name, ``name@tag``, or a run folder to start from. It starts from random numbers unless weights
            are named.
        data: files of texts or sound or a folder of them, a table with a column of inputs, ``hf:org/name`` or a
            registered data-set name. Labels are ignored.
        objective: its name, such as ``"mlm"``; of a data set that is for one, such as ``fractals``, None takes it.
        output: run folder to make; ``runs/<time>-pretrain-<model>-<data>`` if None.
        settings: fields of :class:`zoo.config.PretrainConfig`.

    Raises:
        ZooError: with its exit code, explained in two sentences.
    """
    values = {"model": str(model), "data": str(data), "objective": objective, **settings}
    return run_pretrain(make_config(PretrainConfig, values), output=Path(output) if output else None)


def run_pretrain(config: PretrainConfig, *, output: Path | None = None) -> RunResult:
    """Start a run."""
    registry = zoo.default_registry()
    runtime = Runtime.create(config.precision or "fp32", config.device)
    if output is not None:
        check_free(output)
    objective = _objective(config, registry)
    config = _with_recipe(config, objective)
    if config.weights is None and launch.model_of(config)[1] is None and "@" not in config.model:
        config = config.model_copy(update={"weights": RANDOM})
        say("weights: random numbers (--weights TAG goes on from pretrained ones)")
    identity = launch.identify(config, registry)
    _check_modality(objective, identity.input.modality, identity.model_id)
    with runtime.main_first():
        source = read_source(config, identity.input.modality, registry, objective.spec.labels)
        loaded = launch.load(config, registry, lambda: training_inputs(source))
    learning = _learning(config, objective, loaded, registry, classes_of(source))
    with runtime.main_first():
        data = decoded(source, learning, config, loaded)
    config = _resolve(config, objective, learning, data, loaded, runtime)
    runtime = Runtime.create(config.precision or "fp32", config.device)
    sizes = {split: len(store) for split, store in data.stores.items()}
    run = launch.create("pretrain", config, data.dataset, sizes, loaded, registry, runtime, output)
    return _train(run, config, objective, data, loaded, learning, runtime, resume=False)


def resume_pretrain(path: str | Path) -> RunResult:
    """Go on with an unfinished run exactly where its last checkpoint stands.

    Raises:
        UsageError: the folder is no pretraining run, or its data changed since.
    """
    run = open_run(path)
    if run.manifest.get("verb") != "pretrain":
        raise UsageError(f"{run.path} is no pretraining run.", f"Go on with: zoo finetune --resume {run.path}")
    if run.manifest.get("status") == "finished":
        say(f"{run.path} is finished; nothing is left to do")
        return RunResult(run.path, run.manifest["metrics"])
    registry = zoo.default_registry()
    config = make_config(PretrainConfig, run.config)
    runtime = Runtime.create(config.precision or "fp32", config.device)
    objective = _objective(config, registry)
    with runtime.main_first():
        modality = launch.identify(config, registry).input.modality
        source = read_source(config, modality, registry, objective.spec.labels)
        loaded = launch.load(config, registry, lambda: training_inputs(source), saved=run.path / "model")
    launch.check_unchanged(run, source.fingerprint, loaded)
    learning = _learning(config, objective, loaded, registry, classes_of(source))
    with runtime.main_first():
        data = decoded(source, learning, config, loaded)
    say(f"run: {run.path} (resumed)")
    return _train(run, config, objective, data, loaded, learning, runtime, resume=True)


def _objective(config: PretrainConfig, registry: Registry) -> Entry:
    known = ", ".join(sorted(entry.spec.name for entry in registry.objectives()))
    name = config.objective or _usual_objective(config.data, registry)
    if not name:
        raise UsageError("Pretraining needs an objective.", f"Add --objective, one of {known}.")
    entry = registry.objective(name)
    if unknown := sorted(set(config.options) - set(entry.spec.options)):
        settings = ", ".join(f"{name}={value}" for name, value in entry.spec.options.items()) or "none"
        raise UsageError(f"The objective {entry.spec.name} has no setting {unknown[0]!r}.", f"It has {settings}.")
    return entry


def _usual_objective(data: str, registry: Registry) -> str:
    """What a registered data set is for, where it says so."""
    if Path(data).expanduser().exists():
        return ""
    try:
        return str(registry.dataset(data).spec.objective)
    except ZooError:  # as reading the data will say
        return ""


def _with_recipe(config: PretrainConfig, objective: Entry) -> PretrainConfig:
    """The configuration with the objective's own values where the user gives none."""
    given = config.model_fields_set | ({"lr"} if config.find_lr else set())
    recipe = {name: value for name, value in objective.spec.recipe.items() if name not in given}
    return make_config(PretrainConfig, {**config.model_dump(exclude_unset=True), **recipe})


def _check_modality(objective: Entry, modality: str, model_id: str) -> None:
    if modality not in objective.spec.modalities:
        raise UsageError(
            f"The objective {objective.spec.name} is for {', '.join(objective.spec.modalities)}, and {model_id} takes "
            f"{modality}.",
            "See: zoo pretrain --list",
        )


def _learning(
    config: PretrainConfig, objective: Entry, loaded: LoadedBackbone, registry: Registry, classes: tuple[str, ...]
) -> Learning:
    spec = objective.spec
    require(loaded.backbone, spec.needs, f"The objective {spec.name}")
    config = config.model_copy(update={"options": {**spec.options, **config.options}})
    pipeline = pipeline_for(loaded.model_id, loaded.input, registry, backbone=loaded.backbone)
    known = {} if spec.labels == "ignored" else {"classes": classes}
    task = load_builder(spec.builder, spec.requires, spec.extra)(loaded.backbone, pipeline, config, **known)
    view = load_builder(spec.view, spec.requires, spec.extra)(pipeline, config) if spec.view else pipeline
    return Learning(task, pipeline, view, spec.packed)


def _resolve(
    config: PretrainConfig,
    objective: Entry,
    learning: Learning,
    data: Prepared,
    loaded: LoadedBackbone,
    runtime: Runtime,
) -> PretrainConfig:
    """Every choice left open, made from the facts of this run, said, and enough to repeat it."""
    samples = len(data.training[0])
    on_cpu, whole = runtime.device.type == "cpu", not splittable(learning.task)
    fits = _at_once(data, loaded) if on_cpu else LARGEST_BATCH
    exact = learning.task.batch_coupled and not whole
    least, most = COUPLED_BATCH if exact else (SMALLEST_BATCH, LARGEST_BATCH)
    most = min(most, fits if whole else 4 * fits)  # a batch that is never split has to fit
    batch = config.batch_size or min(most, max(least, 2 ** int(np.log2(max(samples / 50, 1)))))
    if exact and min(batch, samples) < 2:
        raise UsageError(
            f"The objective {objective.spec.name} compares the samples of a batch, and a batch would hold one.",
            "Give a --batch-size of 2 or more, and as many samples.",
        )
    epochs = config.epochs or float(max(1, min(40, round(STEPS / max(1, samples // batch)))))
    values: dict[str, Any] = {
        "model": loaded.model_id,
        "objective": config.objective or objective.spec.name,
        "weights": launch.pinned_weights(config, loaded),
        "data": data.dataset.path or config.data,
        "device": runtime.device.type,
        "precision": config.precision or runtime.best_precision(),
        "batch_size": batch,
        "epochs": epochs,
        "lr": None if config.find_lr else config.lr or _usual_lr(objective, loaded),
        "layer_decay": config.layer_decay or 1.0,
        "batchnorm": config.batchnorm or "train",
        "options": {**objective.spec.options, **config.options},
        **launch.pinned_input(loaded),
    }
    if on_cpu and not whole:
        values["micro_batch"] = config.micro_batch or min(fits, batch)
    config = make_config(PretrainConfig, {**config.model_dump(), **values})
    settings = "".join(f", {name} {value}" for name, value in config.options.items() if value != "")
    say(f"objective: {objective.spec.name}{settings}, on {config.device} in {config.precision}")
    sizes = f"batches of {config.batch_seconds:g} s" if config.batch_seconds else f"batch {batch}"
    rate = f"learning rate {config.lr:g}" if config.lr else "a learning rate to be found"
    say(f"main: {epochs:g} epochs, {sizes}, {rate}")
    return config


def _usual_lr(objective: Entry, loaded: LoadedBackbone) -> float:
    return float(objective.spec.recipe.get("lr") or (1e-3 if loaded.weights_id == RANDOM else 1e-4))


def _at_once(data: Prepared, loaded: LoadedBackbone) -> int:
    """How many samples a CPU's memory takes at once."""
    store, pipeline = data.training[0], data.pipeline
    contracts = loaded.input.parts or (loaded.input,)
    pictures = [math.prod(part.size[1:]) for part in contracts if part.modality == "image"]
    if pictures:  # of which a small one leaves room for others
        return int(CPU_MICRO_BATCH * max(1, PICTURE / pictures[0]))
    if not isinstance(pipeline, Windowed) or store.lengths is None:
        return CPU_MICRO_BATCH
    seconds = CODE_SECONDS if isinstance(loaded.backbone, Autoregressive) else FORWARD_SECONDS
    return max(1, min(CPU_MICRO_BATCH, int(seconds * pipeline.rate / store.lengths.max())))


def _fit_data(task: Any, data: Prepared, runtime: Runtime) -> None:
    """Let the task look at the training split first: every process goes through all of it, and finds the same."""
    task.to(runtime.device).eval()
    batches = Eval(data.stores["train"], data.labels["train"], data.pipeline, **forward_size(data.pipeline))
    task.fit_data(batches.transform(runtime.to_device(batch)) for batch in batches.stream())


def _train(
    run: Run,
    config: PretrainConfig,
    objective: Entry,
    data: Prepared,
    loaded: LoadedBackbone,
    learning: Learning,
    runtime: Runtime,
    *,
    resume: bool,
) -> RunResult:
    began = time.monotonic()
    task = learning.task
    meta = launch.describe(run, loaded, learning.pipeline, objective=objective.id)
    if runtime.is_main:
        launch.begin_model(run, meta, learning.pipeline, loaded.backbone)
    resolved = config.model_dump() | {
        "lr": config.lr or _usual_lr(objective, loaded)
    }  # the latter where a search finds none
    stage = Train(**{name: resolved[name] for name in ("epochs", "batch_size", "lr", "layer_decay", "batchnorm")})
    with launch.status_kept(run, runtime):
        begun = resume and Checkpoints(run.path / "checkpoints").has(last_name(stage.name))
        if isinstance(task, FitsData) and not begun:
            _fit_data(task, data, runtime)
        result = train_all(stage, Context(run, config, task, data, runtime, resume))
    if runtime.is_main:
        save_trained(run.path / "model", {"backbone": task.backbone.module}, {**meta, "metrics": result.metrics})
        count = len(data.stores["val"])
        evaluation = {"task": objective.spec.name, "n": count, "metrics": result.metrics, "intervals": {}}
        write_json(run.path / "evaluation.json", {"schema_version": SCHEMA_VERSION, "split": "val", **evaluation})
        write_report(
            run.path / "report.html",
            dataset=data.dataset,
            evaluation=evaluation,
            outcome=Outcome(()),
            inputs=(),
            events=events_of(run.path / "metrics.jsonl"),
            config=run.config,
            manifest=run.manifest,
            seconds=time.monotonic() - began,
            pictures=sorted((run.path / PICTURES).glob("*.png")),
            search=kept_search(run.path),
        )
    launch.finish(run, runtime, result.metrics, began)
    say("")
    for name, value in result.metrics.items():
        say(f"{name:18} {value:.4f}")
    say(f"on {len(data.stores['val']):,} validation samples, after step {result.best_step} of {result.steps}")
    say(f"report:   {run.path / 'report.html'}")
    say(f"finetune: zoo finetune {run.path} --data ...")
    return RunResult(run.path, result.metrics)
