"""What data sets of sound need besides: events by recording, speakers by split, units of transcripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from zoo.data.dataset import Table
from zoo.data.events import one_per_recording
from zoo.data.labels import NOTHING, class_name, natural_key
from zoo.data.rows import Rows
from zoo.units import clean, make_units, parse_units, unknown
from zoo_registry.errors import DataError, UsageError

_SHOWN = 10


def sound_rows(splits: Mapping[str, Rows], task: str, path: Path, notes: list[str]) -> dict[str, Rows]:
    """The rows as the task wants them: one a recording with its events, or transcripts that are text.

    Raises:
        DataError: the labels are no events.
    """
    found = dict(splits)
    for split, rows in splits.items():
        labels = rows.labels or []
        if task == "frame-classification":
            if not all(isinstance(label, list) for label in labels):
                raise DataError(
                    f"{path} says which class a recording has, but not when it is heard.",
                    "Give a table with the columns path, start, end and label, a row for each event.",
                )
            found[split] = one_per_recording(rows, notes)
        elif task == "transcription":
            found[split] = Rows(rows.inputs, [clean(str(label)) for label in labels], rows.where)
    return found


def sound_names(splits: Mapping[str, Rows], task: str, path: Path) -> tuple[str, ...]:
    """Names in id order: the speakers of all splits, or the classes of the training events after
    :data:`zoo.data.labels.NOTHING`. None for transcripts, whose units come after the validation split is cut.

    Raises:
        DataError: there is only one speaker, or no event.
    """
    if task == "speaker-verification":
        names = {class_name(label) for rows in splits.values() for label in rows.labels or []}
        if len(names) < 2:
            raise DataError(f"{path} has only one speaker.", "Give recordings of several: check the label column.")
        return tuple(sorted(names, key=natural_key))
    if task == "frame-classification":
        names = {name for events in splits["train"].labels or [] for _, _, name in events} - {NOTHING}
        if not names:
            raise DataError(f"No recording in {path} has an event.", "Check the label column.")
        return (NOTHING, *sorted(names, key=natural_key))
    return ()


def name_units(
    tables: dict[str, Table], labels: tuple[str, ...], task: str, units: str | None, notes: list[str]
) -> tuple[dict[str, Table], tuple[str, ...]]:
    """(tables, labels) where speakers of the training split come first, and transcripts have their units.

    Raises:
        UsageError: units are asked for where there are no transcripts.
        DataError: fewer than two speakers to train on.
    """
    if task == "transcription":
        return tables, _units(tables, units, notes)
    if units is not None:
        raise UsageError(f"Units spell transcripts, and the task is {task}.", "Leave --units out.")
    return _training_speakers_first(tables, labels, notes) if task == "speaker-verification" else (tables, labels)


def _units(tables: Mapping[str, Table], units: str | None, notes: list[str]) -> tuple[str, ...]:
    pieces = parse_units(units)
    labels = make_units(tables["train"].columns["label"], pieces)
    kind = "characters" if pieces is None else "pieces of words"
    notes.append(f"transcripts are spelled in {len(labels):,} {kind}")
    if pieces is not None and len(labels) < pieces:
        notes.append(f"the training transcripts have no more than {len(labels):,} pieces, {pieces:,} were asked for")
    for split, table in tables.items():
        found = [unknown(text, labels) for text in table.columns["label"]]
        if any(found):
            letters = [letter for letter, _ in Counter(letter for one in found for letter in one).most_common(_SHOWN)]
            notes.append(
                f"{sum(map(bool, found)):,} of {len(table):,} {split} transcripts have characters that no training "
                f"transcript has, which cannot be recognised: {' '.join(letters)}"
            )
    return labels


def _training_speakers_first(
    tables: Mapping[str, Table], labels: tuple[str, ...], notes: list[str]
) -> tuple[dict[str, Table], tuple[str, ...]]:
    known = sorted(set(tables["train"].columns["label"]))
    if len(known) < 2:
        raise DataError("The training split has only one speaker.", "Give recordings of several to train on.")
    order = [*known, *sorted(set(range(len(labels))) - set(known))]
    ids = {old: new for new, old in enumerate(order)}
    for split, table in tables.items():
        if new := set(table.columns["label"]) - set(known):
            are = "is" if len(new) == 1 else "are"
            notes.append(
                f"{len(new):,} of the {len(set(table.columns['label'])):,} {split} speakers {are} not trained on"
            )
    renamed = {
        split: Table({**table.columns, "label": [ids[speaker] for speaker in table.columns["label"]]})
        for split, table in tables.items()
    }
    return renamed, tuple(labels[old] for old in order)
