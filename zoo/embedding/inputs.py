"""Everything in a collection, labelled or not, in the order it has there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.console import say
from zoo.data.columns import Columns, find_split, plain, recognise, resolve, split_named
from zoo.data.folders import TEXT_SUFFIXES, entries
from zoo.data.items import identity, is_item, name_of
from zoo.data.labels import class_name, is_missing, natural_key
from zoo.data.sound_tables import recognise_sound, sound_items
from zoo.data.sources import locate
from zoo.data.tables import SUFFIXES, RawTable, lines_of, read_table, read_text
from zoo_registry.errors import DataError

if TYPE_CHECKING:
    from zoo_registry.registry import Registry

WORDS = ("tokens", "words")
"""Names of columns that hold sentences as lists of words."""


@dataclass
class Inputs:
    """A collection. Sequences share their order.

    Attributes:
        origin: what was taken, for people.
        items: raw inputs as a pipeline decodes them; a DataError in the place of one that could not be read.
        names: a path, or the text itself.
        rows: number of each in the collection: its line, row or file, from 0.
        labels: as found: text, whole numbers or numbers; empty where there are none.
        splits: the split of each; empty where there are none.
    """

    origin: str
    items: list[Any] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    labels: list[Any] = field(default_factory=list)
    splits: list[str | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.items)

    def fingerprint(self, modality: str) -> str:
        """sha256 over items (of files: names, sizes and times), their numbers, labels and splits."""
        digest = hashlib.sha256(modality.encode())
        for place, item in enumerate(self.items):
            what = str(item) if isinstance(item, DataError) else identity(item, modality)
            about = (self.rows[place], *(column[place] for column in (self.labels, self.splits) if column))
            digest.update(f"\n{what}\0{about!r}".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


@dataclass(frozen=True)
class _Part:
    """One source of a collection: (item, name, row within it, label, split) each, and how many rows it has."""

    lines: list[tuple[Any, str, int, Any, str | None]]
    rows: int


def find_inputs(data: str, *, registry: Registry, modality: str, column: str | None = None) -> Inputs:
    """Find a collection; what was taken is said.

    Args:
        data: a folder (of files, anywhere under it; of class folders; of split tables), a table, a text file with a
            text a line, a single file, ``hf:org/name`` or the name of a data set, all of whose splits are taken.
        modality: what the model takes in.
        column: of a table, which holds the inputs; None: what it looks like.

    Raises:
        UnknownName: no path and no data set of that name.
        DataError: nothing there can be taken for inputs of the modality.
    """
    given = {"input": column} if column else {}
    found = locate(data, registry, modality, given, True)
    say(f"data: {found.origin}")
    for note in found.notes:
        say(f"  {note}")
    try:
        parts = list(_parts(found.path, modality, {**found.columns, **given}.get("input")))
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}.", "Check its permissions.") from error
    inputs = Inputs(found.origin)
    start = 0
    for part in parts:
        for item, name, row, label, split in part.lines:
            inputs.items.append(item)
            inputs.names.append(name)
            inputs.rows.append(start + row)
            inputs.labels.append(label)
            inputs.splits.append(split)
        start += part.rows
    if not inputs.items:
        raise DataError(f"{found.path} holds no {modality} inputs.", "Check the path and the file types.")
    inputs.labels = _alike(inputs.labels)
    inputs.splits = inputs.splits if any(inputs.splits) else []
    return inputs


def _parts(path: Path, modality: str, column: str | None) -> Iterator[_Part]:
    if path.is_file():
        yield _file(path, modality, column, None)
        return
    inner, tables = entries(path, modality)
    grouped = [(_split_in_name(table), table) for table in tables]
    for folder in inner:
        if split := split_named(folder.name):
            grouped += [(split, table) for table in entries(folder, modality)[1]]
    if not grouped:
        yield _files(path, modality)
    for split, table in sorted(grouped, key=lambda pair: ("train", "val", "test", None).index(pair[0])):
        yield _file(table, modality, column, split)


def _split_in_name(path: Path) -> str | None:
    return split_named(path.stem.replace(".", "-").replace("_", "-").partition("-")[0])


def _file(path: Path, modality: str, column: str | None, split: str | None) -> _Part:
    suffix = path.suffix.lower()
    if modality == "text" and suffix == ".txt":
        return _lines(path, split)
    if suffix in (TEXT_SUFFIXES if modality == "text" else SUFFIXES):
        return _table(path, modality, column, split)
    if is_item(path.name, modality):
        return _Part([(str(path), str(path), 0, None, split)], 1)
    raise DataError(f"{path} holds no {modality} inputs.", "Give a folder, a table, or a file that the model takes.")


def _lines(path: Path, split: str | None) -> _Part:
    """A text a line; blank lines are none, but count as rows."""
    lines = lines_of(read_text(path))
    kept = [(line, line, row, None, split) for row, line in enumerate(lines) if line.strip()]
    if len(kept) < len(lines):
        say(f"  {len(lines) - len(kept)} of {len(lines)} lines of {path.name} are blank and left out")
    return _Part(list(kept), len(lines))


def _table(path: Path, modality: str, column: str | None, split: str | None) -> _Part:
    table = _joined(read_table(path))
    columns = _columns(table, modality, column)
    label = columns.labels[0] if len(columns.labels) == 1 else None
    said = {"input": columns.input, "label": label, "split": columns.split}
    say(f"  columns of {path.name}: " + ", ".join(f"{role} = {name}" for role, name in said.items() if name))
    item_of = _text_of if modality == "text" else _path_of([path.parent, path.parent / columns.input])
    items = [None if is_missing(value) else item_of(value) for value in table.columns[columns.input]]
    if modality == "audio":
        items = sound_items(table, columns, items)
    names = table.class_names.get(label or "")
    lines = []
    for row, found in enumerate(items):
        item: Any = _missing(table, row) if found is None else found
        name = table.where(row) if found is None else found if modality == "text" else name_of(found, row, modality)
        mark = table.columns[label][row] if label else None
        if names and isinstance(mark, int) and 0 <= mark < len(names):
            mark = names[mark]
        own = split_named(str(table.columns[columns.split][row])) if columns.split else split
        lines.append((item, name, row, mark, own))
    return _Part(lines, len(table))


def _joined(table: RawTable) -> RawTable:
    """Sentences in place of the lists of their words."""
    words = {name for name in table.columns if plain(name) in WORDS}
    columns = {
        name: [" ".join(map(str, one)) if isinstance(one, list) else one for one in values] if name in words else values
        for name, values in table.columns.items()
    }
    return replace(table, columns=columns)


def _columns(table: RawTable, modality: str, column: str | None) -> Columns:
    overrides = {"input": column} if column else {}
    if column and modality == "text" and column in table.columns:
        # Any column of text can be embedded; what else there is need not fit together.
        return Columns(column, (), find_split(table, overrides), "")
    bases = [table.path.parent]
    if modality == "audio":
        return recognise_sound(table, task=None, overrides=overrides, bases=bases, labelled=False)
    return recognise(table, modality=modality, overrides=overrides, bases=bases, labelled=False)


def _missing(table: RawTable, row: int) -> DataError:
    return DataError(f"{table.where(row)}: there is no input.", "Fill it in, or remove the row.")


def _text_of(value: Any) -> Any:
    return value if isinstance(value, str) else str(value)


def _path_of(bases: Sequence[Path]) -> Callable[[Any], Any]:
    return lambda value: resolve(str(value), bases) or str(bases[0] / str(value))


def _files(folder: Path, modality: str) -> _Part:
    """All files of the modality in natural order. Where each lies in a folder, its name is their label."""
    found = []
    for parent, inner, names in os.walk(folder):
        inner[:] = [name for name in inner if not name.startswith((".", "__"))]
        visible = (name for name in names if not name.startswith(".") and is_item(name, modality))
        found += [Path(parent, name).relative_to(folder) for name in visible]
    files = sorted(found, key=lambda path: natural_key(str(path)))
    splits = [split_named(path.parts[0]) if len(path.parts) > 1 else None for path in files]
    if not all(splits):
        splits = [None] * len(files)
    above = [path.parts[bool(split) : -1] for path, split in zip(files, splits, strict=True)]
    labelled = all(above)
    lines = []
    for row, (path, split, folders) in enumerate(zip(files, splits, above, strict=True)):
        full = str(folder / path)
        item = _content(full) if modality == "text" else full
        lines.append((item, full, row, folders[0] if labelled else None, split))
    return _Part(lines, len(lines))


def _content(path: str) -> Any:
    try:
        return read_text(Path(path))
    except DataError as error:
        return error


def _alike(labels: list[Any]) -> list[Any]:
    """Labels of one type: whole numbers, numbers or text; None where there is none, nothing where all are."""
    known = [None if is_missing(label) else label for label in labels]
    kinds = {type(label) for label in known} - {type(None)}
    if not kinds:
        return []
    if kinds <= {int, float}:
        return known if kinds == {int} else [None if label is None else float(label) for label in known]
    return [None if label is None else _as_text(label) for label in known]


def _as_text(label: Any) -> str:
    return "|".join(map(class_name, label)) if isinstance(label, list | tuple) else class_name(label)
