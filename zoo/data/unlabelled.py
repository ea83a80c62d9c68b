"""Samples without labels, for pretraining: the files of a folder, or a table's column of inputs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.console import say
from zoo.data.checks import duplicate_notes
from zoo.data.columns import split_named
from zoo.data.dataset import DataSet, Table
from zoo.data.fingerprint import fingerprint
from zoo.data.folders import entries, files_under, read_path, split_folders
from zoo.data.librispeech import TRANSCRIPTS
from zoo.data.rows import Raw, Rows
from zoo.data.sources import Found, locate
from zoo.data.splits import cut_validation
from zoo_registry.errors import DataError, UsageError

if TYPE_CHECKING:
    from zoo_registry import Registry

TASK = "pretraining"


def load_unlabelled(
    data: str,
    *,
    registry: Registry,
    modality: str,
    columns: Mapping[str, str] | None = None,
    seed: int = 0,
    val_fraction: float = 0.05,
    allow_sample: bool = True,
    watched: bool = False,
) -> DataSet:
    """Find samples and split them; what was taken and every note is said on stderr as well.

    Args:
        data: a folder of files, at any depth, whose folders mean nothing but ``train`` and ``val`` where it has these;
            or any data set (see :func:`zoo.data.sources.load_dataset`), whose labels are then ignored.
        columns: ``{"input": ..., "split": ...}``, each optional, where a table's names do not tell.
        seed, val_fraction: of the validation split that is cut at random where the data has none.
        watched: whether to take the classes along where the data has them: folders of classes, or the label column of
            a registered data set.

    Returns:
        a data set of the task ``"pretraining"`` with the splits ``train`` and ``val``, all labels 0 but for watched
        classes

    Raises:
        UnknownName: no path and no data set of that name.
        DataError: the data cannot be read, or holds nothing of this modality.
    """
    if not data.strip():
        raise UsageError("The data is empty.", f"Give a folder of {modality} files, or the name of a data set.")
    wanted = dict(columns or {})
    found = locate(data, registry, modality, wanted, allow_sample)
    say(f"data: {found.origin}")
    try:
        raw = _read(found, modality, {**found.columns, **wanted}, watched)
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}.", "Check its permissions.") from error
    dataset = _assemble(found, raw, modality, seed, val_fraction)
    for split, table in dataset.splits.items():
        say(f"  {split}: {len(table)}")
    for note in dataset.notes:
        say(f"  {note}")
    return dataset


def _read(found: Found, modality: str, columns: Mapping[str, str], watched: bool) -> Raw:
    if found.raw is not None:
        splits = {name: rows if watched else replace(rows, labels=None) for name, rows in found.raw.splits.items()}
        return replace(found.raw, splits=splits)
    if found.path.is_file() or _is_laid_out(found.path, modality):
        labelled = watched and "label" in columns
        roles = ("input", "split", "label") if labelled else ("input", "split")
        given = {role: name for role, name in columns.items() if role in roles}
        return read_path(found.path, modality=modality, columns=given, labelled=labelled)
    return _files(found.path, modality, watched)


def _is_laid_out(folder: Path, modality: str) -> bool:
    """Whether more than its files says what a folder holds: a table in it or in a folder of a split, or LibriSpeech's
    transcripts, whose folders tell the splits."""
    inner, tables = entries(folder, modality)
    for one in inner:
        tables += entries(one, modality)[1] if split_named(one.name) else []
    return bool(tables) or (modality == "audio" and any(folder.rglob(f"*{TRANSCRIPTS}")))


def _files(folder: Path, modality: str, watched: bool) -> Raw:
    """The files under a folder: those under folders of splits, where there are such, else all of them. Watched, each
    has the folder it lies in at the top for its label, if all lie in such folders."""
    raw = Raw({}, [], folder)
    classes: dict[str, list[str]] = {}
    for split, folders in split_folders(folder, modality, "files").items():
        rows = raw.splits[split] = Rows(labels=None)
        for inner in folders:
            paths, others = files_under(inner, modality)
            rows.inputs += paths
            below = [Path(path).relative_to(inner).parts for path in paths]
            classes.setdefault(split, []).extend(parts[0] for parts in below if len(parts) > 1)
            if others:
                raw.notes.append(f"{others} files in {inner} are no {modality} files and are left out")
        if not rows.inputs:
            named = " and ".join(str(inner) for inner in folders)
            raise DataError(f"{named} holds no {modality} files, at any depth.", "Check the path and the file types.")
    whole = all(len(names) == len(raw.splits[split].inputs) for split, names in classes.items())
    if watched and whole and len(set(classes["train"])) > 1:
        for split, names in classes.items():
            raw.splits[split].labels = names
    return raw


def _assemble(found: Found, raw: Raw, modality: str, seed: int, val_fraction: float) -> DataSet:
    splits = {split: rows for split, rows in raw.splits.items() if split != "test"}
    named = all(rows.labels is not None for rows in splits.values())
    labels = tuple(sorted({str(label) for rows in splits.values() for label in rows.labels or ()})) if named else ()
    ids = {label: number for number, label in enumerate(labels)}
    tables = {}
    for split, rows in splits.items():
        known = rows.labels if named and rows.labels is not None else [None] * len(rows.inputs)
        tables[split] = Table({"input": rows.inputs, "label": [ids.get(str(label), 0) for label in known]})
    notes = [*found.notes, *raw.notes]
    if labels:
        notes.append(f"{len(labels)} classes: they tell how well training goes, and are not trained on")
    if "val" not in tables:
        whole = tables["train"]
        train, val = cut_validation(whole.columns["label"], TASK, seed, val_fraction)
        tables = {"train": whole.take(train), "val": whole.take(val)}
        notes.append(f"no validation split: cut {len(val)} of {len(whole)} samples for it (seed {seed}, random)")
    return DataSet(
        name=found.name,
        origin=found.origin,
        modality=modality,
        task=TASK,
        splits=tables,
        labels=labels,
        fingerprint=fingerprint(tables, labels, modality, str(raw.root)),
        path=os.path.abspath(found.path) if found.local else "",
        notes=(*notes, *duplicate_notes(tables, modality)),
        sample=found.sample,
    )
