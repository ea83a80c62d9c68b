"""What a data set looks like, before anything is trained on it."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.data.captions import TELLING
from zoo.data.checks import class_counts
from zoo.data.columns import LABEL_NAMES, plain
from zoo.data.dataset import DataSet, Table
from zoo.data.generated import Generated
from zoo.data.items import EXTENSIONS, Member, is_item, name_of, same, shorten, texts_of
from zoo.data.pair_tables import tables_of
from zoo.data.shards import find_shards
from zoo.data.sound_measures import sound_measures, transcript_measures
from zoo.data.tables import is_table, read_table
from zoo.data.tar_index import index_tar
from zoo.pairs import sides
from zoo_registry.errors import DataError, UnknownName

if TYPE_CHECKING:
    from zoo_registry import Registry

_MEASURED = 200
"""Images whose size is looked at."""
_LOOK = 2000
"""Files that the modality is guessed from."""
_WIDTH = 80


def preview(dataset: DataSet, first: int = 3) -> dict[str, Any]:
    """A data set in JSON values, texts shortened.

    ``splits`` maps each split to ``samples``, ``labels`` (counts by class, or by type of entity), ``first`` (its first
    samples as ``{"input", "label"}``) and what its modality and task have besides: ``words`` of texts (min, median,
    p95, max; divided by white space), ``duplicates`` (texts that stand there before), ``values`` of numbers (min, mean,
    max), ``unanswerable`` questions, ``sizes`` of the first 200 images (min and max of width and height,
    ``unreadable``), and ``seconds``, ``sound`` and ``transcripts`` (:mod:`zoo.data.sound_measures`). Of pairs each side
    is measured like data of its own, over its distinct items, whose number ``distinct`` holds by modality.

    Args:
        first: samples to show of each split.
    """
    return {
        "name": dataset.name,
        "origin": dataset.origin,
        "modality": dataset.modality,
        "task": dataset.task,
        "labels": list(dataset.labels),
        "sample": dataset.sample,
        "fingerprint": dataset.fingerprint,
        "splits": {split: _split(table, dataset, first) for split, table in dataset.splits.items()},
        "notes": list(dataset.notes),
    }


def guess_modality(data: str, registry: Registry) -> str:
    """``"image"``, ``"audio"`` or ``"text"``: what a registered name says, else what the files of a folder, or those
    that a table names, mostly are. ``"image-text"`` where images come with captions, and for shards, ``"audio-text"``
    for shards of sound."""
    path = Path(data).expanduser()
    if shards := find_shards(data):
        members = [member.name for member in index_tar(shards[0]).members]
        return "audio-text" if sum(is_item(name, "audio") for name in members) * 3 > len(members) else "image-text"
    if not path.exists():
        try:
            return str(registry.dataset(data).spec.modality)
        except UnknownName:
            return "text"
    names = _names_in(path)
    counts = {modality: sum(is_item(name, modality) for name in names) for modality in ("image", "audio")}
    likely = max(counts, key=lambda modality: counts[modality])
    if counts["image"] and likely == "image" and _captioned(path):
        return "image-text"
    return likely if counts[likely] * 2 > len(names) else "text"


def _captioned(path: Path) -> bool:
    """Whether a table of images has a column named after captions and none named after labels, or most images of a
    folder have a text of their name beside them."""
    try:
        tables = tables_of(path)
    except DataError:  # as reading them will say
        return False
    if tables:
        names = {plain(name) for name in read_table(tables["train"][0]).columns}
        return bool(names & set(TELLING)) and not names & set(LABEL_NAMES)
    files = [os.path.splitext(file) for file in _names_in(path)]
    texts = {stem for stem, ending in files if ending.lower() == ".txt"}
    images = [stem for stem, ending in files if ending.lower() in EXTENSIONS["image"]]
    return sum(stem in texts for stem in images) * 2 > len(images) > 0


def _names_in(path: Path) -> list[str]:
    """The names of a folder's media, texts and tables (those inside the tables too), or what a table's rows name."""
    endings = frozenset().union(*EXTENSIONS.values())
    if path.is_dir():
        every = (os.path.join(parent, name) for parent, _, names in os.walk(path) for name in sorted(names))
        files = list(islice(every, _LOOK))
        media = [name for name in files if os.path.splitext(name)[1].lower() in endings]
        if media:
            return media
        tables = [Path(name) for name in files if is_table(Path(name))]
    else:
        tables = [path] if is_table(path) else []
    for table in tables[:1]:
        columns = read_table(table).columns
        named = [[str(value) for value in values[:_LOOK]] for values in columns.values()]
        return max(named, key=lambda values: sum(os.path.splitext(v)[1].lower() in endings for v in values), default=[])
    return []


def _split(table: Table, dataset: DataSet, first: int) -> dict[str, Any]:
    items, labels = table.columns["input"], table.columns["label"]
    found: dict[str, Any] = {"samples": len(table), "labels": class_counts(labels, dataset.labels, dataset.task)}
    if dataset.task == "question-answering":
        found["unanswerable"] = sum(not answers for answers in labels)
    if dataset.task == "regression" or any(isinstance(label, float) for label in labels):
        found["values"] = {"min": min(labels), "mean": float(np.mean(labels)), "max": max(labels)}
    if dataset.modality == "text":
        found["words"] = _words(items)
        found["duplicates"] = len(items) - len({texts_of(item) for item in items})
    if dataset.modality == "image":
        found |= {} if isinstance(items[0], Generated) else {"sizes": _sizes(items)}
    if dataset.modality == "audio":
        found |= sound_measures(items)
    if pair := sides(dataset.modality):
        found |= _sides(items, pair)
    if dataset.task == "transcription":
        found["transcripts"] = transcript_measures(labels)
    found["first"] = [
        {
            "input": _input(item, row, dataset.modality),
            "label": _label(label, dataset),
        }
        for row, (item, label) in enumerate(islice(zip(items, labels, strict=True), first))
    ]
    return found


def _input(item: Any, row: int, modality: str) -> str | list[str]:
    if pair := sides(modality):
        return [str(_input(one, row, side)) for one, side in zip(item, pair, strict=True)]
    return _shown(item) if modality == "text" else name_of(item, row, modality)


def _sides(items: Sequence[Any], pair: tuple[str, str]) -> dict[str, Any]:
    """What each side of pairs has, over its distinct items."""
    found: dict[str, Any] = {"distinct": {}}
    for place, side in enumerate(pair):
        distinct = list({same(item[place], side): item[place] for item in items}.values())
        found["distinct"][side] = len(distinct)
        if side == "text":
            found["words"] = _words(distinct)
        else:
            found |= {"sizes": _sizes(distinct)} if side == "image" else sound_measures(distinct)
    return found


def _shown(item: Any) -> str | list[str]:
    """A path; a text, or the texts of an item, shortened and on one line."""
    if isinstance(item, list):
        return _line(" ".join(item[:_WIDTH]))
    return _line(item) if isinstance(item, str) else [_line(text) for text in texts_of(item)]


def _line(text: str) -> str:
    # The cut before the split, because a text may be a whole book.
    return shorten(" ".join(text[: 10 * _WIDTH].split()), _WIDTH)


def _label(label: Any, dataset: DataSet) -> Any:
    """A label as people read it: class, classes, tags, answers or number; None where there is none."""
    if dataset.task == "question-answering":
        return [shorten(answer["text"], _WIDTH) for answer in label]
    if dataset.task == "token-classification":
        return shorten(" ".join(dataset.labels[tag] for tag in label), _WIDTH)
    if dataset.task == "multi-label":
        return [dataset.labels[one] for one in label]
    if dataset.task == "transcription":
        return shorten(label, _WIDTH)
    if dataset.task == "frame-classification":
        return [f"{dataset.labels[number]} {start:g}-{end:g} s" for start, end, number in label if number]
    if dataset.labels:
        return dataset.labels[label]
    return label if isinstance(label, float) else None


def _words(items: Sequence[Any]) -> dict[str, int]:
    counts = [len(item) if isinstance(item, list) else sum(len(t.split()) for t in texts_of(item)) for item in items]
    low, middle, high, top = (int(np.quantile(counts, share, method="nearest")) for share in (0, 0.5, 0.95, 1))
    return {"min": low, "median": middle, "p95": high, "max": top}


def _sizes(items: Sequence[Any]) -> dict[str, Any]:
    from PIL import Image

    sizes = []
    for item in items[:_MEASURED]:
        try:
            with Image.open(io.BytesIO(item.read()) if isinstance(item, Member) else item) as image:
                sizes.append(image.size)
        except (OSError, ValueError, Image.DecompressionBombError):  # counted, and named by the run that needs them
            continue
    widths, heights = zip(*sizes, strict=True) if sizes else ((), ())
    return {
        "looked_at": min(len(items), _MEASURED),
        "unreadable": min(len(items), _MEASURED) - len(sizes),
        "width": [min(widths, default=0), max(widths, default=0)],
        "height": [min(heights, default=0), max(heights, default=0)],
    }
