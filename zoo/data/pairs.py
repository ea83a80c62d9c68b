"""Data of pairs: pictures or recordings with captions, pictures with recordings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.console import say
from zoo.data.checks import duplicate_notes
from zoo.data.dataset import DataSet, Table
from zoo.data.fingerprint import fingerprint
from zoo.data.items import same
from zoo.data.pair_folders import read_pair_folder
from zoo.data.pair_tables import Pair, RawPairs, read_pair_tables, tables_of
from zoo.data.shards import Sample, cut_by_key, find_shards, read_shards
from zoo.data.sources import Found, locate
from zoo.data.splits import cut_validation
from zoo.pairs import sides
from zoo_registry.errors import DataError, UsageError

if TYPE_CHECKING:
    from zoo_registry import Registry

TASK = "pretraining"
SHOWN = 5


def load_pairs(
    data: str,
    *,
    registry: Registry,
    modality: str,
    columns: Mapping[str, str] | None = None,
    seed: int = 0,
    val_fraction: float = 0.05,
    allow_sample: bool = True,
    max_bad: float = 0.05,
) -> DataSet:
    """Find pairs and split them; what was taken and every note is said on stderr as well.

    Args:
        data: a table with a column for each side (a list of captions is as many pairs), or a folder with one; a folder
            of files beside which others of the same name lie (``0001.jpg``, ``0001.txt``); WebDataset shards
            (``shards/{000..003}.tar``, ``shards/*.tar``, a folder of them, a single one); ``hf:org/name``; or the name
            of a data set.
        modality: ``"image-text"``, ``"audio-text"`` or ``"image-audio"``.
        columns: ``{"input": ..., "pair": ..., "split": ...}``: of the first side, of the second and of splits, each
            optional, where a table's names do not tell.
        seed, val_fraction: of the validation split that is cut where the data has none: by picture, so that none has
            captions on both sides of the cut; of shards by a hash of the samples' keys.
        max_bad: share of pairs that may be incomplete.

    Returns:
        a data set of the task ``"pretraining"``: its inputs are tuples of two raw items, its labels 0. ``test`` is
        there where the data has it.

    Raises:
        UnknownName: no path and no data set of that name.
        DataError: the data cannot be read, holds no such pairs, or too many incomplete ones.
    """
    pair = sides(modality)
    if pair is None:
        raise UsageError(f"{modality!r} is no modality of pairs.", "Write it like image-text.")
    if not data.strip():
        raise UsageError("The data is empty.", "Give a table, a folder, shards, or the name of a data set.")
    wanted = dict(columns or {})
    shards = find_shards(data)
    pattern = os.path.abspath(Path(data).expanduser()) if shards else ""
    if shards and not os.path.exists(pattern):
        folder = Path(os.path.commonpath([shard.absolute().parent for shard in shards]))
        found = Found(folder.name, folder, data, local=True)
    else:
        found = locate(data, registry, modality, wanted, allow_sample)
        shards = find_shards(str(found.path))
    if shards:
        found = replace(found, origin=f"{found.origin.removeprefix('table ')}, {len(shards)} shards of pairs")
    say(f"data: {found.origin}")
    try:
        if shards:
            raw = _from_shards(shards, pair, seed, val_fraction)
        else:
            raw = _read(found.path, pair, {**found.columns, **wanted})
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}.", "Check its permissions.") from error
    dataset = _assemble(found, raw, modality, pair, seed, val_fraction, max_bad)
    if pattern:
        dataset = replace(dataset, path=pattern)  # not the folder, which may hold other shards
    for split, table in dataset.splits.items():
        say(f"  {split}: {count_pairs(table, modality)}")
    for note in dataset.notes:
        say(f"  {note}")
    return dataset


def count_pairs(table: Table, modality: str) -> str:
    """``"500 pairs"``, or ``"500 pairs of 100 images and 498 texts"`` where some items stand in several."""
    counts = {
        side: len({same(pair[place], side) for pair in table.columns["input"]})
        for place, side in enumerate(sides(modality) or ())
    }
    of = " and ".join(f"{count:,} {'texts' if side == 'text' else side + 's'}" for side, count in counts.items())
    return f"{len(table):,} pairs" + (f" of {of}" if set(counts.values()) != {len(table)} else "")


def _read(path: Path, pair: tuple[str, str], columns: Mapping[str, str]) -> RawPairs:
    tables = tables_of(path)
    if tables:
        return read_pair_tables(tables, path if path.is_dir() else path.parent, pair, columns)
    if path.is_dir():
        return read_pair_folder(path, pair)
    raise DataError(
        f"{path} is no table of pairs.", "Give a CSV, TSV, JSONL or Parquet file, a folder, or .tar shards."
    )


def _from_shards(paths: list[Path], pair: tuple[str, str], seed: int, val_fraction: float) -> RawPairs:
    found = read_shards(paths, pair)
    raw = RawPairs(bad=found.bad, lost=found.lost)
    splits = found.splits
    if splits.get("train") and not splits.get("val"):
        whole = splits["train"]
        train, val = cut_by_key(whole, seed, val_fraction)
        splits = {**splits, "train": train, "val": val}
        raw.notes.append(
            f"no validation split: cut {len(val)} of {len(whole)} samples for it (seed {seed}, by their keys)"
        )
    raw.splits = {split: _pairs(samples) for split, samples in splits.items() if samples}
    return raw


def _pairs(samples: list[Sample]) -> list[Pair]:
    return [pair for sample in samples for pair in sample.pairs]


def _assemble(
    found: Found, raw: RawPairs, modality: str, pair: tuple[str, str], seed: int, val_fraction: float, max_bad: float
) -> DataSet:
    notes = [*found.notes, *raw.notes, *_judge(found.path, raw, pair, max_bad)]
    splits = {split: raw.splits[split] for split in ("train", "val", "test") if raw.splits.get(split)}
    if "train" not in splits:
        raise DataError(f"{found.path} has no training pairs.", "Mark some as train.")
    tables = {split: Table({"input": pairs, "label": [0] * len(pairs)}) for split, pairs in splits.items()}
    if "val" not in tables:
        whole = tables["train"]
        groups = [same(first, pair[0]) for first, _ in whole.columns["input"]]
        train, val = cut_validation(whole.columns["label"], TASK, seed, val_fraction, groups)
        tables = {**tables, "train": whole.take(train), "val": whole.take(val)}
        notes.append(f"no validation split: cut {len(val)} of {len(whole)} pairs for it (seed {seed}, by {pair[0]})")
    return DataSet(
        name=found.name,
        origin=found.origin,
        modality=modality,
        task=TASK,
        splits=tables,
        labels=(),
        fingerprint=fingerprint(tables, (), modality, str(found.path if found.path.is_dir() else found.path.parent)),
        path=os.path.abspath(found.path) if found.local else "",
        notes=(*notes, *_duplicates(tables, pair)),
        sample=found.sample,
    )


def _judge(path: Path, raw: RawPairs, pair: tuple[str, str], max_bad: float) -> list[str]:
    """A note on what is left out.

    Raises:
        DataError: too much, or everything.
    """
    good = sum(map(len, raw.splits.values()))
    lost = raw.lost if raw.lost is not None else len(raw.bad)
    shown = "; ".join(f"{what} ({why})" for what, why in raw.bad[:SHOWN]) + ("; ..." if len(raw.bad) > SHOWN else "")
    if not good:
        looked = "captions" if pair[1] == "text" else f"{pair[1]} files"
        raise DataError(
            f"{path} holds no {pair[0]} files with {looked}{f': {shown}' if shown else ''}.",
            "Give a table with a column for each, files of the same name, or shards: see zoo data show --help.",
        )
    if lost > max_bad * (good + lost):
        raise DataError(
            f"More than {max_bad:.0%} of {good + lost:,} pairs are incomplete: {shown}.",
            "Repair or remove them, or raise --max-bad, the largest share of them that is left out.",
        )
    if not raw.bad:
        return []
    return [
        f"left out {lost:,} of {good + lost:,} pairs, which are incomplete: {shown}" if lost else f"damaged: {shown}"
    ]


def _duplicates(tables: Mapping[str, Table], pair: tuple[str, str]) -> list[str]:
    """Notes on items of either side that stand in several splits."""
    notes = []
    for place, side in enumerate(pair):
        items = {
            split: Table({"input": [one[place] for one in table.columns["input"]]}) for split, table in tables.items()
        }
        notes += [f"{side}: {note}" for note in duplicate_notes(items, side)]
    return notes
