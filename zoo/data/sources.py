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
from zoo.data.folders import TEXT_SUFFIXES, read_path
from zoo.data.generated import describe_settings, read_settings
from zoo.data.hub import fetch, parse_source
from zoo.data.labels import AUDIO_TASKS, TASKS, TEXT_TASKS, class_name, class_names, decide_task, encode, natural_key
from zoo.data.rows import Raw, Rows
from zoo.data.speech import name_units, sound_names, sound_rows
from zoo.data.splits import cut_validation
from zoo.data.tags import OUTSIDE, entity_type, is_bio
from zoo.net import hub_endpoint, reachable
from zoo.paths import cache_dir, offline
from zoo_registry.errors import DataError, MissingDependency, UnknownName, UsageError

if TYPE_CHECKING:
    from zoo_registry import Registry
    from zoo_registry.specs import DatasetSpec

_HOW_CUT = {
    "question-answering": "no context in both",
    "speaker-verification": "no speaker in both",
    **dict.fromkeys(("embedding", "generation", "transcription", "frame-classification"), "random"),
}
"""How a validation split is cut where it is not stratified by labels."""


@dataclass(frozen=True)
class Found:
    """Where the data lies, and what is known of it besides; ``raw`` of what lies nowhere but is generated."""

    name: str
    path: Path
    origin: str
    columns: Mapping[str, str] = field(default_factory=dict)
    task: str | None = None
    sample: bool = False
    local: bool = False
    notes: tuple[str, ...] = ()
    raw: Raw | None = None


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
    units: str | None = None,
) -> DataSet:
    """Find, read, split and check a data set; what was taken and every note is said on stderr as well.

    Args:
        data: a path (a folder of class folders, with or without train, val and test; a table, CoNLL or SQuAD file; a
            folder of split files), ``hf:org/name[/config]``, or the name of a data set, which may carry settings
            (``fractals:classes=50``). A path that exists wins over a name. A name is looked for in ``$ZOO_DATA_PATH``,
            then generated, or looked for in the cache, then the hub, then its built-in sample.
        modality: what the model takes in.
        task: one of :data:`zoo.data.labels.TASKS`; None: what the data and its labels look like.
        columns: ``{"input": ..., "pair": ..., "label": ..., "split": ...}``, each optional, where a table's names do
            not tell.
        seed, val_fraction: of the validation split that is cut where the data has none.
        allow_sample: whether a built-in sample may stand in for data that cannot be reached.
        units: what transcripts are spelled in: see :func:`zoo.units.parse_units`.

    Raises:
        UnknownName: no path and no data set of that name.
        DataError: the data cannot be read, cannot be reached, or does not fit the task.
        UsageError: options that do not fit together.
    """
    if not data.strip():
        raise UsageError("The data is empty.", "Give a path, hf:org/name or the name of a data set.")
    found = locate(data, registry, modality, dict(columns or {}), allow_sample)
    say(f"data: {found.origin}")
    _require_task(task, modality)
    wanted = task or (found.task if found.task in (*TEXT_TASKS, *AUDIO_TASKS) else None)
    raw = found.raw or read_path(
        found.path, modality=modality, columns={**found.columns, **(columns or {})}, task=wanted
    )
    dataset = _assemble(found, raw, modality, task or found.task or raw.task, seed, val_fraction, units)
    for split, table in dataset.splits.items():
        say(f"  {split}: {count_text(table.columns['label'], dataset.labels, dataset.task)}")
    for note in dataset.notes:
        say(f"  {note}")
    return dataset


def _require_task(task: str | None, modality: str) -> None:
    if task is not None and task not in TASKS:
        raise UsageError(f"There is no task {task!r} for labelled data.", f"The tasks are {', '.join(TASKS)}.")
    if task in TEXT_TASKS and modality != "text":
        raise UsageError(f"The task {task} is for texts, the model takes {modality}.", "Choose another of the two.")
    if task in AUDIO_TASKS and modality != "audio":
        raise UsageError(f"The task {task} is for sound, the model takes {modality}.", "Choose another of the two.")


def locate(data: str, registry: Registry, modality: str, columns: Mapping[str, str], allow_sample: bool) -> Found:
    """Where the data lies: a path, the cache, freshly fetched, or a sample; see :func:`load_dataset`."""
    path = Path(data).expanduser()
    if path.exists():
        kind = "folder" if path.is_dir() else "table"
        return Found(_name(path), path, f"{kind} {path}", local=True, notes=_shadowed(data, registry))
    if data.startswith("hf:"):
        source = data.removeprefix("hf:")
        folder = _from_hub(source, cache_dir() / "data" / source.strip("/").replace("/", "--"), columns.get("input"))
        return Found(source.strip("/").split("/")[-1], folder, f"hub {source}")
    if data.startswith(("/", "~", "./", "../")) or "\\" in data or path.suffix.lower() in TEXT_SUFFIXES:
        raise DataError(f"There is no {data}.{_near(path)}", "Check the path.")
    try:
        spec: DatasetSpec = registry.dataset(data).spec
    except UnknownName as error:
        if (local := _on_data_path(data)) is not None:
            return Found(data, local, f"folder {local}", local=True)
        raise UnknownName(f"{data!r} is no path and no data set that zoo knows.", error.remedy) from None
    return _registered(spec, modality, columns, allow_sample, data.partition(":")[2])


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


def _registered(
    spec: DatasetSpec, modality: str, columns: Mapping[str, str], allow_sample: bool, settings: str
) -> Found:
    if spec.modality != modality:
        raise DataError(
            f"{spec.name} holds {spec.modality} data, the model takes {modality}.", "Choose another of the two."
        )
    task = spec.task if spec.task in TASKS else None
    values = read_settings(spec, settings)
    if not settings and (local := _on_data_path(spec.name)) is not None:
        return Found(spec.name, local, f"folder {local}", task=task, local=True)
    if spec.generate:
        from zoo_registry.builders import load_builder

        raw = load_builder(spec.generate)(**values)
        origin = f"{spec.name}, generated with {describe_settings(values)}"
        return Found(spec.name, raw.root, origin, task=task, raw=raw)
    wanted = {**spec.columns, **columns}
    sources = [source.removeprefix("hf:") for source in spec.sources if source.startswith("hf:")]
    folder = cache_dir() / "data" / spec.name
    if folder.is_dir():
        return Found(spec.name, folder, f"{spec.name} in the cache, {folder}", wanted, task)
    reasons = []
    for source in sources:
        try:
            return Found(spec.name, _from_hub(source, folder, wanted.get("input")), f"hub {source}", wanted, task)
        except (DataError, MissingDependency) as error:
            reasons.append(error.problem)
    if spec.sample and allow_sample:
        note = f"a built-in sample of generated {modality} data stands in for the real {spec.name}"
        if not sources:
            note = f"{spec.name} is generated {modality} data, built in, and says nothing about real data"
        if reasons:
            note += f" ({reasons[0].rstrip('.')})"
        return Found(spec.name, _sample(spec), f"built-in sample of {spec.name}", {}, task, sample=True, notes=(note,))
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


def _assemble(
    found: Found, raw: Raw, modality: str, task: str | None, seed: int, val_fraction: float, units: str | None
) -> DataSet:
    notes = [*found.notes, *raw.notes]
    splits = _labelled(raw, notes)
    task = decide_task([label for rows in splits.values() for label in _values(rows)], task)
    if modality == "text":
        _require_items(splits, task, found.path)
    if modality == "audio":
        splits = sound_rows(splits, task, found.path, notes)
    labels = _label_names(splits, task, found.path)
    tables = {
        split: Table({"input": rows.inputs, "label": encode(_values(rows), rows.where, task, labels, split)})
        for split, rows in splits.items()
    }
    if "val" not in tables:
        whole = tables["train"]
        train, val = cut_validation(whole.columns["label"], task, seed, val_fraction, _groups(whole, task))
        tables = {**tables, "train": whole.take(train), "val": whole.take(val)}
        how = _HOW_CUT.get(task, "stratified")
        notes.append(f"no validation split: cut {len(val)} of {len(whole)} samples for it (seed {seed}, {how})")
    tables = {split: tables[split] for split in ("train", "val", "test") if split in tables}
    tables, labels = name_units(tables, labels, task, units, notes)
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


def _groups(table: Table, task: str) -> list[Any] | None:
    """What must not be divided between training and validation: questions on one context, clips of one speaker."""
    if task == "question-answering":
        return [item["context"] for item in table.columns["input"]]
    return table.columns["label"] if task == "speaker-verification" else None


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


def _require_items(splits: Mapping[str, Rows], task: str, path: Path) -> None:
    """Raise a DataError where the items are not what the task works on."""
    wanted = {"token-classification": list, "question-answering": dict, "embedding": tuple}.get(task, (str, tuple))
    item = splits["train"].inputs[0]
    if not isinstance(item, wanted):
        kinds = {
            "str": "texts",
            "tuple": "pairs of texts",
            "list": "sentences of words",
            "dict": "questions on contexts",
        }
        kind = kinds[type(item).__name__]
        raise DataError(f"{path} holds {kind}, which are no data for {task}.", "Choose another task, or other columns.")


def _label_names(splits: Mapping[str, Rows], task: str, path: Path) -> tuple[str, ...]:
    if task in AUDIO_TASKS:
        return sound_names(splits, task, path)
    if task not in ("classification", "multi-label", "token-classification"):
        return ()
    train = splits["train"]
    if task == "token-classification":
        return _tag_names(splits, path)
    name_all = class_names if task == "multi-label" else lambda value: [class_name(value)]
    names = sorted({name for value in _values(train) for name in name_all(value)}, key=natural_key)
    if task == "classification" and len(names) == 1:
        inner = _inner_layout(path, names[0])
        remedy = "Classification needs at least two: check the label column or the folders."
        raise DataError(f"{path} has only one class, {names[0]!r}.", f"Did you mean {inner}?" if inner else remedy)
    if not names:
        raise DataError(f"No sample in {path} has a label.", "Check the label column.")
    return tuple(names)


def _tag_names(splits: Mapping[str, Rows], path: Path) -> tuple[str, ...]:
    """The training split's tags, ``O`` first. Also ``I-x`` where only other splits have an ``x`` of several words."""
    names = {tag for tags in _values(splits["train"]) for tag in tags}
    if is_bio(names):
        known = {entity_type(tag) for tag in names} - {OUTSIDE}
        every = {tag for rows in splits.values() for tags in _values(rows) for tag in tags}
        names |= {OUTSIDE} | {tag for tag in every if entity_type(tag) in known}
    if len(names) < 2:
        raise DataError(
            f"All words of {path} have the same tag, {next(iter(names))!r}.", "Check the column of the tags."
        )
    return tuple(sorted(names, key=lambda tag: (tag != OUTSIDE, natural_key(tag))))


def _inner_layout(path: Path, only: str) -> Path | None:
    """The folder one deeper, where unpacking an archive put the data."""
    inner = path / only
    return inner if inner.is_dir() and any(entry.is_dir() for entry in inner.iterdir()) else None
