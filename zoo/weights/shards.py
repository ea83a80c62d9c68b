"""Checkpoints in several files: an index (``model.safetensors.index.json``) says which tensor is in which."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from zoo.weights.hashes import sha256_of
from zoo_registry.errors import WeightsError

INDEX_SUFFIX = ".index.json"
SHARD_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")


def is_index(path: Path) -> bool:
    """True if the file names shards rather than holding tensors."""
    return path.name.endswith(INDEX_SUFFIX)


def shard_names(index: Path) -> list[str]:
    """The files that an index names, in order of their names. They lie beside it.

    Raises:
        WeightsError: it is no index, or names a file outside its folder.
    """
    try:
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(places.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{index} is no index of weights: {error!r}.", "Copy or fetch the file again, or give another."
        ) from error
    for name in names:
        # The index may come from anywhere: a name with a folder in it must not make us read or write outside.
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(SHARD_SUFFIXES):
            raise WeightsError(f"{index} names {name!r}, which is no weights file beside it.", "Do not use this file.")
    if not names:
        raise WeightsError(f"{index} names no weights files.", "Copy or fetch the file again, or give another.")
    return names


def shards(index: Path) -> list[Path]:
    """The files that an index names.

    Raises:
        WeightsError: one is not there, or as :func:`shard_names`.
    """
    paths = [index.parent / name for name in shard_names(index)]
    if absent := [path.name for path in paths if not path.is_file()]:
        raise WeightsError(
            f"{index} names {', '.join(absent[:3])}{' and others' if len(absent) > 3 else ''}, which "
            f"{'is' if len(absent) == 1 else 'are'} not beside it.",
            f"Copy {'it' if len(absent) == 1 else 'them'} into {index.parent}.",
        )
    return paths


def checkpoint_sha256(path: Path) -> str:
    """Hex sha256 of a weights file; of an index over its name and hash and those of its shards.

    Raises:
        WeightsError: a file is missing or cannot be read.
    """
    if not is_index(path):
        return sha256_of(path)
    lines = [f"{one.name} {sha256_of(one)}" for one in (path, *shards(path))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
