"""Data sets of the hub, through the ``datasets`` library, into a folder of split tables and plain media files."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zoo.data.columns import split_named
from zoo_registry.errors import DataError, MissingDependency

_BY_MAGIC = {
    b"\xff\xd8\xff": ".jpg",
    b"\x89PNG": ".png",
    b"GIF8": ".gif",
    b"RIFF": ".wav",
    b"fLaC": ".flac",
    b"OggS": ".ogg",
    b"ID3": ".mp3",
}


def fetch(source: str, folder: Path, column: str | None = None) -> None:
    """Fetch ``org/name`` or ``org/name/config`` into ``folder``, which appears complete or not at all.

    Every known split becomes ``<split>.parquet`` with classes by name, and a file per image or recording beside it.

    Args:
        column: the media column to keep where there are several; None: the first.

    Raises:
        MissingDependency: the ``datasets`` library is not installed.
        DataError: the hub does not have the data set or does not hand it out, or it has no usable split.
    """
    try:
        import datasets
    except ImportError as error:
        raise MissingDependency(
            "Data sets of the hub need the package datasets.", 'Install it: pip install "zookit[vision]".'
        ) from error
    name, config = parse_source(source)
    folder.parent.mkdir(parents=True, exist_ok=True)
    downloads = folder.parent / ".downloads" / folder.name
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        try:
            with _recordings_as_they_are():
                loaded = datasets.load_dataset(name, config, cache_dir=str(downloads))
            for split, part in _usable(loaded, source).items():
                _write_split(part, work, split, column)
        except DataError:
            raise
        except Exception as error:  # the library raises whatever its backends do
            first = ((str(error).splitlines() or [""])[0] or type(error).__name__).rstrip(".")
            raise DataError(f"hf:{source} cannot be fetched: {first}.", "Check its name and access.") from error
        try:
            work.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process fetched the same
                raise
        shutil.rmtree(downloads, ignore_errors=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def parse_source(source: str) -> tuple[str, str | None]:
    """``(org/name, config or None)`` of what stands after ``hf:``.

    Raises:
        DataError: it is no name of a data set.
    """
    parts = source.strip("/").split("/")
    if len(parts) > 3 or not all(re.fullmatch(r"\w[\w.-]*", part) for part in parts):
        raise DataError(f"hf:{source} is no data set of the hub.", "Write hf:org/name or hf:org/name/config.")
    return "/".join(parts[:2]), parts[2] if len(parts) == 3 else None


@contextmanager
def _recordings_as_they_are() -> Iterator[None]:
    """Keep ``datasets`` from asking for torchcodec, which it wants for recordings that are files already too. Files are
    all that is fetched, and nothing here decodes them."""
    from datasets import Audio

    def keep(self: Any, value: Any) -> Any:
        if isinstance(value, bytes | str | Path):
            return {"bytes": value, "path": None} if isinstance(value, bytes) else {"bytes": None, "path": str(value)}
        return {"bytes": value.get("bytes"), "path": value.get("path")}

    original = Audio.encode_example
    Audio.encode_example = keep
    try:
        yield
    finally:
        Audio.encode_example = original


def _usable(loaded: Any, source: str) -> dict[str, Any]:
    """The parts by split: of its name, else all whose name begins with it (``train.100``, ``train.360``) as one."""
    parts = {split: part for name, part in loaded.items() if (split := split_named(name)) is not None}
    begun: dict[str, list[Any]] = {}
    for name, part in loaded.items():
        if (split := split_named(re.split(r"[-_.]", name)[0])) is not None and split not in parts:
            begun.setdefault(split, []).append(part)
    if begun:
        from datasets import concatenate_datasets

        parts |= {split: concatenate_datasets(several) for split, several in begun.items()}
    if "train" not in parts and len(loaded) == 1:
        return {"train": next(iter(loaded.values()))}
    if "train" not in parts:
        raise DataError(f"hf:{source} has no training split; it has {', '.join(loaded)}.", "Choose another data set.")
    return parts


def _write_split(part: Any, folder: Path, split: str, column: str | None) -> None:
    import pyarrow
    from datasets import Audio, ClassLabel, Image
    from pyarrow import parquet

    media = [name for name, feature in part.features.items() if isinstance(feature, Image | Audio)]
    kept = column if column in media else next(iter(media), None)
    part = part.remove_columns([name for name in media if name != kept])
    if kept is not None:
        part = part.cast_column(kept, type(part.features[kept])(decode=False))
    columns: dict[str, list[Any]] = {}
    for name, feature in part.features.items():
        inner = getattr(feature, "feature", feature)
        if name == kept:
            columns[name] = [_write_media(value, folder, split, row) for row, value in enumerate(part[name])]
        elif isinstance(inner, ClassLabel):
            columns[name] = [_named(value, inner.names) for value in part[name]]
        elif kept is None or not isinstance(inner, dict):
            columns[name] = list(part[name])
    parquet.write_table(pyarrow.table(columns), folder / f"{split}.parquet")


def _write_media(value: Any, folder: Path, split: str, row: int) -> str | None:
    if value is None:
        return None
    data = value["bytes"] if value.get("bytes") is not None else Path(value["path"]).read_bytes()
    suffix = os.path.splitext(value.get("path") or "")[1].lower()
    suffix = suffix or next((end for magic, end in _BY_MAGIC.items() if data.startswith(magic)), "")
    # A thousand files a folder, because file systems and people dislike more.
    path = Path("media", split, f"{row // 1000:04d}", f"{row:07d}{suffix}")
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(data)
    return path.as_posix()


def _named(value: Any, names: list[str]) -> Any:
    if isinstance(value, list):
        return [names[one] for one in value]
    return names[value] if value is not None and value >= 0 else None
