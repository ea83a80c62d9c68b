"""What every training verb does around its stages: the model and its input, the run folder, resuming, stopping."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from zoo.config import RunConfig
from zoo.console import say
from zoo.data.dataset import DataSet
from zoo.engine.runtime import Runtime
from zoo.protocols import Pipeline, Portable, Windowed
from zoo.run import SCHEMA_VERSION, Run, new_folder, start_run, versions
from zoo.towers import run_model
from zoo.trained import input_dict, write_meta
from zoo.weights import LoadedBackbone, WeightsId, identify_weights, load_backbone
from zoo.weights.resolve import RANDOM
from zoo_registry.builders import load_builder
from zoo_registry.errors import Interrupted, Terminated, UsageError, ZooError
from zoo_registry.registry import Registry
from zoo_registry.specs import InputSpec

TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class RunResult:
    """What a run came to.

    Attributes:
        run: the run folder.
        metrics: of the kept weights on the validation split.
    """

    run: Path
    metrics: dict[str, Any]


def model_of(config: RunConfig) -> tuple[str, str | None]:
    """(model name, weights): a run, its model folder or a weights package stands for its model with those weights."""
    if config.weights is None and (trained := run_model(config.model)):
        return trained, config.model
    return config.model, config.weights


def identify(config: RunConfig, registry: Registry) -> WeightsId:
    """The weights a configuration names, and their input contract.

    Raises:
        UsageError: a size of batches that means nothing for this modality.
    """
    model, weights = model_of(config)
    made = identify_weights(
        model,
        weights=weights,
        registry=registry,
        size=config.size,
        max_length=config.max_length,
        seconds=config.seconds,
    )
    if made.input.parts and (config.batch_seconds is not None or config.batch_tokens is not None):
        raise UsageError(f"{made.model_id} takes pairs, which are counted.", "Give --batch-size.")
    heard = made.input.modality == "audio"
    if config.batch_seconds is not None and not heard:
        raise UsageError(
            f"{made.model_id} takes no sound, so a batch has no seconds.",
            "Give --batch-size, or --batch-tokens for texts.",
        )
    if config.batch_tokens is not None and heard:
        raise UsageError(f"{made.model_id} takes no texts, so a batch has no tokens.", "Did you mean --batch-seconds?")
    return made


def load(
    config: RunConfig,
    registry: Registry,
    inputs: Callable[[], Iterable[Any]],
    *,
    saved: Path | None = None,
) -> LoadedBackbone:
    """The backbone of a run.

    Args:
        inputs: the training inputs, for a model whose input contract is made from them.
        saved: the ``model/`` folder of the run to go on with, which holds that contract's files.
    """
    identity = identify(config, registry)
    chosen = _fitted(identity, config, inputs, saved)
    torch.manual_seed(config.seed)  # random weights, and the head after them, are a function of the seed
    model, weights = model_of(config)
    return load_backbone(
        model,
        weights=weights,
        registry=registry,
        size=config.size,
        max_length=config.max_length,
        seconds=config.seconds,
        input=chosen,
    )


def _fitted(
    identity: WeightsId, config: RunConfig, inputs: Callable[[], Iterable[Any]], saved: Path | None
) -> InputSpec | None:
    """The input contract where it does not come with the weights, or follows the data."""
    spec = identity.spec
    fits = bool(spec.fit_input) and (identity.weights_id == RANDOM or spec.fit_always)
    reads = "text" in {part.modality for part in identity.input.parts or (identity.input,)}
    if config.tokenizer and not (fits and reads):
        raise UsageError(
            "A tokenizer of your own fits no pretrained weights.", "Leave --tokenizer out, or add --weights none."
        )
    if not fits or identity.own_input:
        return None
    if saved is not None and identity.input.modality == "audio" and (settled := _settled(identity.input, saved)):
        return settled
    if saved is not None and not identity.input.parts and (saved / TOKENIZER).is_file():
        return dataclasses.replace(identity.input, assets=str(saved))
    if saved is not None and identity.input.parts and (settled := _settled_pair(saved)):
        return settled
    given = identity.input
    if config.tokenizer:
        given = _reading(given, str(_tokenizer_folder(Path(config.tokenizer))))
        if not given.parts:
            return given
    towers = (spec,) if given.parts else ()
    chosen: InputSpec = load_builder(spec.fit_input, spec.requires, spec.extra)(given, inputs(), *towers)
    return chosen if config.seconds is None else _heard_for(chosen, config.seconds)


def _reading(input: InputSpec, assets: str) -> InputSpec:
    """The contract of texts, or of pairs with texts, with a tokenizer."""
    if input.parts:
        return dataclasses.replace(input, parts=tuple(_reading(part, assets) for part in input.parts))
    return dataclasses.replace(input, assets=assets) if input.modality == "text" else input


def _heard_for(input: InputSpec, seconds: float) -> InputSpec:
    """The contract with the asked-for length of sound, whatever the data would have made of it."""
    if input.parts:
        return dataclasses.replace(input, parts=tuple(_heard_for(part, seconds) for part in input.parts))
    if input.modality != "audio" or input.seconds == seconds:
        return input
    say(f"sound: {f'windows of {seconds:g} s' if seconds else 'whole recordings'}, as was asked for")
    return dataclasses.replace(input, seconds=seconds)


def _settled(input: InputSpec, saved: Path) -> InputSpec | None:
    """The contract of sound that a run began with; None where it was stopped before it was written down."""
    try:
        fields = json.loads((saved / "model.json").read_text(encoding="utf-8"))["input"]
        return dataclasses.replace(input, rate=int(fields["rate"]), seconds=float(fields["seconds"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _settled_pair(saved: Path) -> InputSpec | None:
    """The contract of pairs that a run began with; None where it was stopped before all of it was written down."""
    try:
        settled = InputSpec.from_dict(json.loads((saved / "model.json").read_text(encoding="utf-8"))["input"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if any(part.modality == "text" for part in settled.parts) and not (saved / TOKENIZER).is_file():
        return None
    return dataclasses.replace(settled, assets=str(saved))


def _tokenizer_folder(path: Path) -> Path:
    for folder in (path, path / "model", path.parent):
        if (folder / TOKENIZER).is_file() and (folder != path.parent or path.name == TOKENIZER):
            return folder.resolve()
    raise UsageError(f"{path} holds no {TOKENIZER}.", "Give a folder, a run or the file itself.")


def batch_tokens(config: RunConfig, pipeline: Pipeline) -> int | None:
    """The size of batches in elements of the pipeline's arrays: tokens, or samples of sound; None: by count."""
    if config.batch_seconds is not None and isinstance(pipeline, Windowed):
        return max(1, round(config.batch_seconds * pipeline.rate))
    return config.batch_tokens


def pinned_input(loaded: LoadedBackbone) -> dict[str, Any]:
    """The input contract's choices as fields of the configuration, which a resumed or repeated run reads back."""
    heard = [part for part in loaded.input.parts or (loaded.input,) if part.modality == "audio"]
    return {"seconds": heard[0].seconds} if heard else {}


def pinned_weights(config: RunConfig, loaded: LoadedBackbone) -> str:
    """The weights, said so that they mean the same tomorrow and from another folder."""
    _, weights = model_of(config)
    if weights is not None and Path(weights).exists():
        return str(Path(weights).resolve())
    return loaded.weights_id.partition("@")[2] or loaded.weights_id


def create(
    verb: str,
    config: RunConfig,
    dataset: DataSet,
    sizes: dict[str, int],
    loaded: LoadedBackbone,
    registry: Registry,
    runtime: Runtime,
    output: Path | None,
) -> Run:
    """Make the run folder, by one process for all.

    Args:
        sizes: samples of each split.
    """
    name = model_of(config)[0]
    path = runtime.share(new_folder(output, verb, name, dataset.name) if runtime.is_main else Path())
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "verb": verb,
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
            "sizes": sizes,
            "labels": list(dataset.labels),
            "notes": list(dataset.notes),
        },
        "seed": config.seed,
        "device": config.device,
        "threads": torch.get_num_threads(),
        "device_name": torch.cuda.get_device_name() if config.device == "cuda" else None,
        "versions": versions(*registry.model(loaded.model_id).spec.requires),
    }
    run = Run(path, config.model_dump(), manifest)
    if runtime.is_main:
        start_run(run)
    say(f"run: {path}")
    return run


def describe(run: Run, loaded: LoadedBackbone, pipeline: Pipeline, **more: Any) -> dict[str, Any]:
    """``model.json`` of a run: what it takes to use its weights."""
    return {
        "model_id": loaded.model_id,
        "weights_id": loaded.weights_id,
        "weights_sha256": loaded.sha256,
        "plugin": loaded.plugin,
        "plugin_version": loaded.plugin_version,
        **more,
        "input": input_dict(loaded.input),
        "input_name": pipeline.input_name,
        "preprocessing": pipeline.describe(),
        "versions": run.manifest["versions"],
        "data": {key: run.manifest["data"][key] for key in ("name", "origin", "fingerprint", "sample")},
    }


def begin_model(run: Run, meta: dict[str, Any], *parts: Any) -> None:
    """Write what the run's model needs besides its weights, before there are any: a killed run goes on from it.

    Args:
        parts: pipeline and backbone, of which those that are Portable have files.
    """
    write_meta(run.path / "model", meta)
    for part in parts:
        if isinstance(part, Portable):
            part.save_assets(run.path / "model")


def check_unchanged(run: Run, fingerprint: str, loaded: LoadedBackbone) -> None:
    """A run goes on with what it began with.

    Raises:
        UsageError: the data or the weights are others.
    """
    if fingerprint != run.manifest["data"]["fingerprint"]:
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


@contextmanager
def status_kept(run: Run, runtime: Runtime) -> Iterator[None]:
    """The manifest tells how the block ended; a stopped run is told how to go on."""
    mark(run, runtime, "running")
    try:
        yield
    except (Interrupted, Terminated) as stop:
        mark(run, runtime, "interrupted")
        verb = run.manifest.get("verb", "finetune")
        raise type(stop)(f"{stop.problem}", f"Go on with: zoo {verb} --resume {run.path}") from None
    except ZooError:
        mark(run, runtime, "failed")
        raise


def mark(run: Run, runtime: Runtime, status: str) -> None:
    """Note the run's status."""
    if runtime.is_main:
        run.update_manifest(status=status)


def finish(run: Run, runtime: Runtime, metrics: dict[str, Any], began: float) -> None:
    """Note the run's end; ``began`` is of :func:`time.monotonic`."""
    if runtime.is_main:
        run.update_manifest(
            status="finished",
            finished=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            seconds=round(time.monotonic() - began, 1),
            metrics=metrics,
        )
