"""What a run leaves behind: ``model/`` with safetensors and model.json, written and read back into a task."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

import zoo
from zoo.engine.checkpoint import Checkpoints, write_tensors
from zoo.pairs import side_inputs
from zoo.protocols import Backbone, Matches, Pipeline
from zoo.run import SCHEMA_VERSION, open_run, write_json
from zoo.tasks import SupervisedTask
from zoo.towers import tower_id
from zoo_registry.builders import load_builder
from zoo_registry.errors import UsageError, WeightsError, ZooError
from zoo_registry.registry import Registry
from zoo_registry.specs import InputSpec


@dataclass(frozen=True)
class Trained:
    """A trained task with everything needed to use it.

    Attributes:
        task: in evaluation mode, on the CPU.
        pipeline: turns raw items into the task's input.
        labels: class names in id order; empty for regression.
        meta: model.json.
    """

    task: SupervisedTask
    pipeline: Pipeline
    labels: tuple[str, ...]
    meta: dict[str, Any]


def write_meta(folder: Path, meta: dict[str, Any]) -> None:
    """model.json, with its schema version."""
    write_json(folder / "model.json", {"schema_version": SCHEMA_VERSION, **meta})


def save_trained(folder: Path, parts: Mapping[str, Any], meta: dict[str, Any]) -> None:
    """Write each part (``backbone``: under the original library's names, so it loads there; ``head``) as
    ``NAME.safetensors``, and model.json with their hashes.

    Raises:
        ZooError: the disk refused; nothing half-written stays.
    """
    hashes = {}
    for name, module in parts.items():
        path = folder / f"{name}.safetensors"
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            write_tensors(temporary, module.state_dict())
            temporary.replace(path)
        except (OSError, SafetensorError) as error:
            temporary.unlink(missing_ok=True)
            raise ZooError(
                f"{path} cannot be written: {error}.", "Free some space; the checkpoints are intact."
            ) from error
        hashes[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    write_meta(folder, {**meta, "sha256": hashes})


def build_head(name: str, dim: int, labels: tuple[str, ...], registry: Registry, **options: Any) -> Any:
    """A head by registered name."""
    spec = registry.head(name).spec
    return load_builder(spec.builder, spec.requires, spec.extra)(dim=dim, labels=labels, **options)


def pipeline_for(
    model_id: str,
    input_spec: InputSpec,
    registry: Registry,
    head: str | None = None,
    backbone: Backbone | None = None,
) -> Pipeline:
    """The pipeline a model's spec names, for an input contract, as the head of that name sees it. That of a model of
    pairs is made of its towers' pipelines.

    Raises:
        WeightsError: it does not belong to ``backbone``.
    """
    model = registry.model(model_id)
    spec = model.spec
    build = load_builder(spec.pipeline, spec.requires, spec.extra)
    pipeline: Pipeline
    if input_spec.parts:
        names = (tower_id(model, part.modality, registry) for part in input_spec.parts)
        parts = side_inputs(input_spec)
        pipeline = build(*(pipeline_for(name, part, registry) for name, part in zip(names, parts, strict=True)))
    else:
        pipeline = build(input_spec)
    if backbone is not None and isinstance(pipeline, Matches):
        pipeline.check_backbone(backbone)
    if head is None or not (wanted := registry.head(head).spec).view:
        return pipeline
    return load_builder(wanted.view, wanted.requires, wanted.extra)(pipeline)


def load_trained(path: str | Path, registry: Registry | None = None) -> Trained:
    """A run folder, its ``model/`` folder, or one of its checkpoints (``RUN/checkpoints/best``).

    Raises:
        UsageError: the folder holds no trained model.
        WeightsError: its files are damaged or do not fit the model.
    """
    path = Path(path)
    registry = registry or zoo.default_registry()
    folder, checkpoint = _locate(path)
    meta = _read_meta(folder)
    resolved = registry.model(meta["model_id"])
    input_spec = dataclasses.replace(InputSpec.from_dict(meta["input"]), assets=str(folder))
    builder = load_builder(resolved.spec.builder, resolved.spec.requires, resolved.spec.extra)
    backbone: Backbone = builder(resolved.spec, input_spec, None, None, **resolved.spec.options)
    head = build_head(meta["head"], backbone.dim, tuple(meta["labels"]), registry)
    task = SupervisedTask(backbone, head)
    if checkpoint is None:
        _load(folder / "backbone.safetensors", task.backbone.module, meta)
        _load(folder / "head.safetensors", task.head, meta)
    else:
        files, _ = Checkpoints(checkpoint.parent).load(checkpoint.name)
        _fit(task, files["model"], checkpoint)
    pipeline = pipeline_for(meta["model_id"], input_spec, registry, meta["head"], backbone)
    return Trained(task.eval(), pipeline, tuple(meta["labels"]), meta)


def _locate(path: Path) -> tuple[Path, Path | None]:
    if (path / "model.json").is_file() and (path / "backbone.safetensors").is_file():
        return path, None
    if (path / "state.json").is_file() and (path.parent.parent / "model" / "model.json").is_file():
        return path.parent.parent / "model", path
    run = open_run(path)
    if (run.path / "model" / "backbone.safetensors").is_file():
        return run.path / "model", None
    best = path / "checkpoints" / "best"
    usable = run.manifest.get("verb") != "pretrain" and best.is_dir()
    raise UsageError(
        f"The run {path} did not finish, so it holds no trained model.",
        run.remedy() + (f". Or use its best checkpoint so far: {best}" if usable else ""),
    )


def _read_meta(folder: Path) -> dict[str, Any]:
    try:
        meta = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        missing = {"model_id", "head", "labels", "input"} - set(meta)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            f"{folder / 'model.json'} cannot be read: {error}.", "Give a zoo run or model folder."
        ) from error
    if "head" in missing and "model_id" in meta:
        raise UsageError(
            f"{folder} holds a backbone without a head, which answers nothing by itself.",
            f"Finetune it: zoo finetune {folder} --data DATA. Or measure its features: zoo evaluate {folder} --probe "
            "knn --data DATA",
        )
    if missing:
        raise UsageError(
            f"{folder / 'model.json'} lacks {', '.join(sorted(missing))}.", "Give a zoo run or model folder."
        )
    return meta


def _load(path: Path, module: Any, meta: dict[str, Any]) -> None:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.", "Restore it or train again.") from error
    expected = meta.get("sha256", {}).get(path.name)
    if expected and hashlib.sha256(data).hexdigest() != expected:
        raise WeightsError(f"{path} is not the file that was written.", "Restore it from a copy, or train again.")
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise WeightsError(f"{path} is damaged: {error}.", "Restore it from a copy, or train again.") from error
    _fit(module, state, path)


def _fit(module: nn.Module, state: dict[str, Any], path: Path) -> None:
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise WeightsError(
            f"{path} does not fit the model: {first}", "Use the versions named in its manifest."
        ) from error


def input_dict(spec: InputSpec) -> dict[str, Any]:
    """An InputSpec as JSON values, without the folders of its assets: they lie beside model.json, wherever that is."""
    return dataclasses.asdict(_without_assets(spec))


def _without_assets(spec: InputSpec) -> InputSpec:
    return dataclasses.replace(spec, assets="", parts=tuple(map(_without_assets, spec.parts)))
