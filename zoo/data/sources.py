"""From what the user wrote after ``--data`` to a :class:`DataSet`."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.console import say
from zoo.data.checks import balance_notes, count_text, duplicate_notes
from zoo.data.dataset import DataSet, Table
from zoo.data.fingerprint import fingerprint
from zoo.data.folders import read_path
from zoo.data.hub import fetch, parse_source
from zoo.data.labels import TASKS, class_name, class_names, decide_task, encode, natural_key
from zoo.data.rows import Raw, Rows
from zoo.data.splits import cut_validation
from zoo.data.tables import SUFFIXES
from zoo.net import hub_endpoint, reachable
from zoo.paths import cache_dir, offline
from zoo_registry.errors import DataError, MissingDependency, UnknownName, UsageError

if TYPE_CHECKING:
    from zoo_registry import Registry
    from zoo_registry.specs import DatasetSpec


@dataclass(frozen=True)
class _Found:
    """Where the data lies, and what is known of it besides."""

    name: str
    path: Path
    origin: str
    columns: Mapping[str, str] = field(default_factory=dict)
    task: str | None = None
    sample: bool = False
    local: bool = False
    notes: tuple[str, ...] = ()


def load_dataset(
    data: str,
    *,
    registry: Registry,
    modality: str,
    task: str | None = None,
    columns: Mapping[str, str] | None = None,
    seed: int = 0,
    val_fraction: float = 0.2,
    allow_sample: bool = True,
) -> DataSet:
    """Find, read, split and check a data set; what was taken and every note is said on stderr as well.

    Args:
        data: a path (a folder of class folders, with or without train, val and test; a table file; a folder of split
            tables), ``hf:org/name[/config]``, or the name of a data set. A path that exists wins over a name. A name
            is looked for in ``$ZOO_DATA_PATH``, then the cache, then the hub, then its built-in sample.
        modality: what the model takes in.
        task: ``"classification"``, ``"multi-label"`` or ``"regression"``; None: what the labels look like.
        columns: ``{"input": ..., "label": ..., "split": ...}``, each optional, where a table's names do not tell.
        seed, val_fraction: of the validation split that is cut where the data has none.
        allow_sample: whether a built-in sample may stand in for data that cannot be reached.

    Raises:
        UnknownName: no path and no data set of that name.
        DataError: the data cannot be read, cannot be reached, or does not fit the task.
        UsageError: options that do not fit together.
    """
    if not data.strip():
        raise UsageError("The data is empty.", "Give a path, hf:org/name or the name of a data set.")
    found = _locate(data, registry, modality, dict(columns or {}), allow_sample)
    say(f"data: {found.origin}")
    raw = read_path(found.path, modality=modality, columns={**found.columns, **(columns or {})})
    dataset = _assemble(found, raw, modality, task or found.task or raw.task, seed, val_fraction)
    for split, table in dataset.splits.items():
        say(f"  {split}: {count_text(table.columns['label'], dataset.labels, dataset.task)}")
    for note in dataset.notes:
        say(f"  {note}")
    return dataset


def _locate(data: str, registry: Registry, modality: str, columns: Mapping[str, str], allow_sample: bool) -> _Found:
    path = Path(data).expanduser()
    if path.exists():
        kind = "folder" if path.is_dir() else "table"
        return _Found(_name(path), path, f"{kind} {path}", local=True, notes=_shadowed(data, registry))
    if data.startswith("hf:"):
        source = data.removeprefix("hf:")
        folder = _from_hub(source, cache_dir() / "data" / source.strip("/").replace("/", "--"), columns.get("input"))
        return _Found(source.strip("/").split("/")[-1], folder, f"hub {source}")
    if data.startswith(("/", "~", "./", "../")) or "\\" in data or path.suffix.lower() in SUFFIXES:
        raise DataError(f"There is no {data}.{_near(path)}", "Check the path.")
    try:
        spec: DatasetSpec = registry.dataset(data).spec
    except UnknownName as error:
        if (local := _on_data_path(data)) is not None:
            return _Found(data, local, f"folder {local}", local=True)
        raise UnknownName(f"{data!r} is no path and no data set that zoo knows.", error.remedy) from None
    return _registered(spec, modality, columns, allow_sample)


def _name(path: Path) -> str:
    resolved = path.resolve()
    return resolved.name if resolved.is_dir() else resolved.stem


def _shadowed(data: str, registry: Registry) -> tuple[str, ...]:
    try:
        registry.dataset(data)
    except Exception:  # whatever the registry makes of a path, the path wins
        return ()
    return (f"took the path {data}, not the data set of that name",)


def _near(path: Path) -> str:
    parent = path.parent
    names = [entry.name for entry in parent.iterdir()] if parent.is_dir() else []
    close = difflib.get_close_matches(path.name, names, n=3, cutoff=0.6)
    return f" There is {', '.join(str(parent / name) for name in close)}." if close else ""


def _on_data_path(name: str) -> Path | None:
    for folder in filter(None, os.environ.get("ZOO_DATA_PATH", "").split(os.pathsep)):
        if (candidate := Path(folder).expanduser() / name).is_dir():
            return candidate
    return None


def _registered(spec: DatasetSpec, modality: str, columns: Mapping[str, str], allow_sample: bool) -> _Found:
    if spec.modality != modality:
        raise DataError(
            f"{spec.name} holds {spec.modality} data, the model takes {modality}.", "Choose another of the two."
        )
    task = spec.task if spec.task in TASKS else None
    if (local := _on_data_path(spec.name)) is not None:
        return _Found(spec.name, local, f"folder {local}", task=task, local=True)
    wanted = {**spec.columns, **columns}
    sources = [source.removeprefix("hf:") for source in spec.sources if source.startswith("hf:")]
    folder = cache_dir() / "data" / spec.name
    if folder.is_dir():
        return _Found(spec.name, folder, f"{spec.name} in the cache, {folder}", wanted, task)
    reasons = []
    for source in sources:
        try:
            return _Found(spec.name, _from_hub(source, folder, wanted.get("input")), f"hub {source}", wanted, task)
        except (DataError, MissingDependency) as error:
            reasons.append(error.problem)
    if spec.sample and allow_sample:
        note = f"a built-in sample of generated {modality} data stands in for the real {spec.name}"
        if reasons:
            note += f" ({reasons[0].rstrip('.')})"
        return _Found(spec.name, _sample(spec), f"built-in sample of {spec.name}", {}, task, sample=True, notes=(note,))
    raise DataError(
        f"The data set {spec.name} is not on this machine. {' '.join(reasons)}".strip(),
        "\n".join(_ways_out(spec, folder, sources, allow_sample)),
    )


def _ways_out(spec: DatasetSpec, folder: Path, sources: list[str], allow_sample: bool) -> Iterator[str]:
    yield "Any of these helps:"
    yield f"- set ZOO_DATA_PATH to a folder that holds {spec.name}/"
    yield f"- put it (class folders or tables) at {folder}"
    yield "- give a path: --data FOLDER"
    if sources and offline():
        yield "- unset ZOO_OFFLINE and HF_HUB_OFFLINE to fetch it from the hub"
    elif sources:
        yield f"- connect to {hub_endpoint()}, or set HF_ENDPOINT to a mirror of it"
    if spec.sample and not allow_sample:
        yield "- allow the built-in sample (leave out --no-sample)"


def _from_hub(source: str, folder: Path, column: str | None) -> Path:
    parse_source(source)
    if folder.is_dir():
        return folder
    if offline():
        raise DataError(
            f"hf:{source} is not in the cache, and ZOO_OFFLINE or HF_HUB_OFFLINE forbids fetching it.",
            "Unset it, or give a path.",
        )
    if not reachable(hub_endpoint()):
        raise DataError(
            f"hf:{source} is not in the cache, and {hub_endpoint()} does not answer.",
            "Connect to it, set HF_ENDPOINT to a mirror, or give a path.",
        )
    say(f"fetching hf:{source} into {folder}")
    fetch(source, folder, column)
    return folder


def _sample(spec: DatasetSpec) -> Path:
    folder = cache_dir() / "samples" / spec.name
    if not folder.is_dir():
        from zoo_registry.builders import load_builder

        say(f"writing the built-in sample of {spec.name} into {folder}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        load_builder(spec.sample)(folder)
    return folder


def _assemble(found: _Found, raw: Raw, modality: str, task: str | None, seed: int, val_fraction: float) -> DataSet:
    notes = [*found.notes, *raw.notes]
    splits = _labelled(raw, notes)
    task = decide_task([label for rows in splits.values() for label in _values(rows)], task)
    labels = _label_names(splits["train"], task, found.path)
    tables = {
        split: Table({"input": rows.inputs, "label": encode(_values(rows), rows.where, task, labels, split)})
        for split, rows in splits.items()
    }
    if "val" not in tables:
        train, val = cut_validation(tables["train"].columns["label"], task, seed, val_fraction)
        whole = tables["train"]
        tables = {**tables, "train": whole.take(train), "val": whole.take(val)}
        notes.append(f"no validation split: cut {len(val)} of {len(whole)} samples for it (seed {seed}, stratified)")
    tables = {split: tables[split] for split in ("train", "val", "test") if split in tables}
    notes += balance_notes(tables["train"].columns["label"], labels, task)
    notes += duplicate_notes(tables, modality)
    return DataSet(
        name=found.name,
        origin=found.origin,
        modality=modality,
        task=task,
        splits=tables,
        labels=labels,
        fingerprint=fingerprint(tables, labels, modality, str(raw.root)),
        path=os.path.abspath(found.path) if found.local else "",
        notes=tuple(notes),
        sample=found.sample,
    )


def _values(rows: Rows) -> list[Any]:
    return rows.labels or []


def _labelled(raw: Raw, notes: list[str]) -> dict[str, Rows]:
    splits = {}
    for split, rows in raw.splits.items():
        if rows.labels is not None:
            splits[split] = rows
        else:
            notes.append(f"the {split} split has no labels, so it is not used")
    return splits


def _label_names(train: Rows, task: str, path: Path) -> tuple[str, ...]:
    if task == "regression":
        return ()
    name_all = class_names if task == "multi-label" else lambda value: [class_name(value)]
    names = sorted({name for value in _values(train) for name in name_all(value)}, key=natural_key)
    if task == "classification" and len(names) == 1:
        inner = _inner_layout(path, names[0])
        remedy = "Classification needs at least two: check the label column or the folders."
        raise DataError(f"{path} has only one class, {names[0]!r}.", f"Did you mean {inner}?" if inner else remedy)
    if not names:
        raise DataError(f"No sample in {path} has a label.", "Check the label column.")
    return tuple(names)


def _inner_layout(path: Path, only: str) -> Path | None:
    """The folder one deeper, where unpacking an archive put the data."""
    inner = path / only
    return inner if inner.is_dir() and any(entry.is_dir() for entry in inner.iterdir()) else None
