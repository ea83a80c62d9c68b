"""WebDataset shards: tar archives in which the files of a sample have one name and different endings (Aizman et al.,
"High performance I/O for large scale deep learning", 2019).

The headers of each shard are read once, and a picture is read from its place in the shard whenever it is decoded. So
any sample can be had at any time: order and resuming are exact, as with files, where the webdataset library, which
reads a shard from its beginning, shuffles within a buffer. Memory holds the captions and a place for each picture.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.data.captions import captions_of
from zoo.data.columns import split_named
from zoo.data.items import EXTENSIONS, Member
from zoo.data.labels import natural_key
from zoo.data.tar_index import Index, index_tar
from zoo_registry.errors import DataError, MissingDependency

SUFFIX = ".tar"
TEXTS = ("txt", "text", "caption", "json")
"""Endings of a sample's caption; that of JSON holds it under one of :data:`zoo.data.captions.NAMES`."""


@dataclass(frozen=True)
class Sample:
    """A sample of a shard.

    Attributes:
        key: what its files are called, without endings.
        pairs: one for each of its captions.
    """

    key: str
    pairs: list[tuple[Any, Any]]


@dataclass
class Shards:
    """What was read of shards.

    Attributes:
        splits: split -> its samples, in order; ``train`` for shards of no split.
        bad: (what, why) of samples that are left out, and of broken shards.
        lost: samples that are bad, guessed from the size of the others where nobody knows.
        total: samples, those that are lost included.
    """

    splits: dict[str, list[Sample]] = field(default_factory=dict)
    bad: list[tuple[str, str]] = field(default_factory=list)
    lost: int = 0
    total: int = 0


def find_shards(data: str) -> list[Path] | None:
    """The shards that ``--data`` names: a pattern with braces or stars, a file, or those in a folder and in its folders
    of splits. None where it names none.

    Raises:
        DataError: a shard of the pattern does not exist.
        MissingDependency: a pattern with braces, without the library that knows them.
    """
    path = Path(data).expanduser()
    if not path.exists() and data.endswith(SUFFIX) and re.search(r"[{*?[]", data):
        return _expand(str(path))
    if path.is_dir():
        folders = [path, *(entry for entry in path.iterdir() if split_named(entry.name) and entry.is_dir())]
        found = [file for folder in folders for file in folder.glob(f"[!.]*{SUFFIX}") if file.is_file()]
        return sorted(found, key=lambda file: natural_key(str(file))) or None
    return [path] if path.is_file() and path.suffix.lower() == SUFFIX else None


def read_shards(paths: Sequence[Path], pair: tuple[str, str]) -> Shards:
    """The pairs in shards.

    A shard belongs to the split that its folder or a part of its name says (``val-000.tar``).

    Args:
        pair: modalities of the two sides.

    Raises:
        DataError: a file is no archive or an empty one.
    """
    found = Shards()
    for path in paths:
        index = index_tar(path)
        samples, files = _samples(index, pair, found)
        found.splits.setdefault(split_of(path), []).extend(samples)
        found.total += files
        if index.broken:
            # Of what cannot be read, nobody knows how much it is: as much as there is of the readable.
            lost = round(index.unread * files / max(1, path.stat().st_size - index.unread)) if index.unread else 0
            found.lost += lost
            found.total += lost
            found.bad.append((str(path), index.broken))
    return found


def split_of(path: Path) -> str:
    """``"train"``, ``"val"`` or ``"test"``: what a shard's folder or a part of its name says, else ``"train"``."""
    parts = (path.parent.name, *re.split(r"[-_.]", path.stem))
    return next((split for part in parts if (split := split_named(part))), "train")


def cut_by_key(samples: Sequence[Sample], seed: int, fraction: float) -> tuple[list[Sample], list[Sample]]:
    """(train, val): each sample goes where a hash of its key and the seed says, so more shards move none of the old. At
    least one is on either side.

    Raises:
        DataError: there is but one sample.
    """
    if len({sample.key for sample in samples}) < 2:
        raise DataError("There are too few samples to cut a validation split from.", "Add shards, or some named val.")
    shares = [_share(sample.key, seed) for sample in samples]
    limit = min(max(fraction, min(shares)), sorted(set(shares))[-2])
    sides: tuple[list[Sample], list[Sample]] = ([], [])
    for sample, share in zip(samples, shares, strict=True):
        sides[share <= limit].append(sample)
    return sides


def _share(key: str, seed: int) -> float:
    digest = hashlib.blake2b(f"{seed}\0{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def _expand(pattern: str) -> list[Path]:
    names: Iterable[str] = [pattern]
    if "{" in pattern:
        try:
            from braceexpand import braceexpand
        except ImportError as error:
            raise MissingDependency(
                "Braces in the names of shards need the package braceexpand.",
                'Install it: pip install "zookit[multimodal]". Or write the pattern with *.',
            ) from error
        try:
            names = list(braceexpand(pattern))
        except ValueError:  # braces that do not match
            raise DataError(
                f"{pattern} has a brace without its other.", "Write it like shards/{000..003}.tar."
            ) from None
    found: list[Path] = []
    for name in names:
        path = Path(name)
        files = [path] if path.is_file() else sorted(path.parent.glob(path.name), key=lambda f: natural_key(str(f)))
        if not files:
            raise DataError(f"There is no {name}.", "Check the pattern of the shards.")
        found += files
    return list(dict.fromkeys(found))


def _samples(index: Index, pair: tuple[str, str], found: Shards) -> tuple[list[Sample], int]:
    """(complete samples, number of all). What is wrong with the others is noted in ``found``."""
    groups: dict[str, dict[str, Member]] = {}
    for member in index.members:
        key, ending = split_name(member.name)
        if key:
            groups.setdefault(key, {}).setdefault(ending, member)
    cut = {split_name(name)[0] for name in index.cut} - {""}
    samples = []
    for key, files in groups.items():
        if key in cut:
            continue
        try:
            samples.append(Sample(key, list(_pairs(files, pair))))
        except DataError as error:
            found.bad.append((f"{next(iter(files.values())).path}: {key}", error.problem.rstrip(".")))
            found.lost += 1
    found.lost += len(cut)
    return samples, len(groups.keys() | cut)


def split_name(name: str) -> tuple[str, str]:
    """(key, ending) of a file in a shard: what stands before and after the first dot of its last part, as webdataset
    divides it. ("", "") of what has no ending or no name, and of what macOS leaves beside files."""
    match = re.fullmatch(r"((?:.*/|)[^./][^./]*)[.]([^/]*)", name, flags=re.DOTALL)
    key, ending = match.groups() if match else ("", "")
    return key, ending.lower()


def _pairs(files: dict[str, Member], pair: tuple[str, str]) -> Iterator[tuple[Any, Any]]:
    """The pairs that a sample's files make: one a caption.

    Raises:
        DataError: one side is missing.
    """
    sides = [_texts(files) if side == "text" else [_medium(files, side)] for side in pair]
    yield from ((first, second) for first in sides[0] for second in sides[1])


def _medium(files: dict[str, Member], modality: str) -> Member:
    fitting = (file for ending, file in files.items() if f".{ending.rpartition('.')[2]}" in EXTENSIONS[modality])
    found = next(fitting, None)
    if found is None:
        raise DataError(f"it has no {modality} file.", "Add it.")
    return found


def _texts(files: dict[str, Member]) -> list[str]:
    for wanted in TEXTS:
        for ending, file in files.items():
            if ending.rpartition(".")[2] == wanted and (found := captions_of(_content(file, wanted))):
                return found
    raise DataError("it has no caption.", "Add it.")


def _content(file: Member, ending: str) -> Any:
    try:
        text = file.read().decode("utf-8-sig")
        return json.loads(text) if ending == "json" else text
    except (ValueError, RecursionError):
        raise DataError(f"its {ending} is {'no JSON' if ending == 'json' else 'not UTF-8'}.", "Repair it.") from None
