"""What evaluate, predict and export work on: a run, its model folder, a checkpoint, an export. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from zoo.data.dataset import Table
from zoo.kinds import Entries, Outcome, kind_of, model_facts
from zoo.serve_model import META_FILE, MODEL_FILE, OnnxModel, is_export
from zoo_registry.errors import DataError, UsageError

if TYPE_CHECKING:
    from zoo.serve_audio import Parts

T = TypeVar("T")


class Model(Protocol):
    """The least that predicting needs; :class:`zoo.serve_model.OnnxModel` and :class:`zoo.torch_model.TorchModel`."""

    backend: str
    task: str
    labels: tuple[str, ...]
    meta: dict[str, Any]

    @property
    def parts(self) -> Parts | None:
        """How recordings go through the model; None where it takes no sound."""
        ...

    def rows(self, table: Table) -> Table:
        """The model's samples of a table of raw inputs (see :class:`zoo.protocols.Expands`)."""
        ...

    def decode(self, item: Any) -> np.ndarray: ...

    def run(self, arrays: Sequence[np.ndarray]) -> tuple[Entries, Entries]:
        """Decoded samples to (logits, scores), one entry each."""
        ...


@dataclass(frozen=True)
class Answers:
    """What a model answered to a table of raw inputs.

    Attributes:
        logits: one entry for each sample that could be read.
        outcome: the same samples' scores, with items, owners and truth.
        bad: (owner, why) of those that could not.
        long: how many recordings were longer than the model hears at once.
    """

    logits: list[np.ndarray]
    outcome: Outcome
    bad: list[tuple[int, str]]
    long: int = 0


def answer(model: Model, table: Table, batch_size: int, beam: int | None = None) -> Answers:
    """Run every input of a table, with its labels where it has some, through a model; unreadable ones are set aside.

    Args:
        beam: texts that are followed at once where speech is recognised; None: greedy decoding.

    Raises:
        UsageError: as :func:`check_beam`.
    """
    check_beam(model, beam)
    rows = model.rows(table)
    items, owners = rows.columns["input"], rows.columns["owner"]
    truth = rows.columns.get("truth") or rows.columns.get("label")
    keep_arrays = kind_of(model.task).needs_arrays
    logits: list[np.ndarray] = []
    scores: list[Any] = []
    arrays: list[np.ndarray] = []
    kept: list[int] = []
    bad: list[tuple[int, str]] = []
    long = 0
    for good, failed in decode_all(model.decode, items, batch_size):
        bad += [(owners[position], why) for position, why in failed]
        if good:
            given = [array for _, array in good]
            long += model.parts.count_long(given) if model.parts else 0
            one = model.run(given)
            logits += list(one[0])
            scores += list(one[1])
            kept += [position for position, _ in good]
            arrays += given if keep_arrays else []
    if beam is not None:
        from zoo.beam import beam_texts

        scores = beam_texts(logits, model.labels, beam)
    outcome = Outcome(
        scores=scores,
        items=[items[position] for position in kept],
        arrays=arrays,
        owner=[owners[position] for position in kept],
        truth=[truth[position] for position in kept] if truth else (),
        **model_facts(model.meta, model.parts.hop if model.parts else 0),
    )
    return Answers(logits, outcome, bad, long)


def check_beam(model: Model, beam: int | None) -> None:
    """Raise UsageError where a beam is asked for and there is no beam search."""
    if beam is None:
        return
    if model.task != "transcription":
        raise UsageError(f"This model does {model.task}, which has no beam search.", "Leave --beam out.")
    if model.backend != "torch":
        raise UsageError(
            "An export decodes greedily, with numpy alone.", "Leave --beam out, or give the run that was exported."
        )


def each_its_own(table: Table) -> Table:
    """``rows`` of a pipeline whose samples are the inputs one for one."""
    return Table({**table.columns, "owner": list(range(len(table)))})


def open_target(path: str | Path, labels: Sequence[str] | None = None, templates: Sequence[str] | None = None) -> Model:
    """Load whatever ``path`` is: an export with onnxruntime alone, everything else with torch.

    Args:
        path: a run, a checkpoint, a model folder or an export; with labels also the name of a model of pairs.
        labels: what a model of pairs chooses between, without training.
        templates: sentences with ``{}`` for a label; None: those of :mod:`zoo.prompts`.

    Raises:
        UsageError: nothing there, nothing that zoo wrote, or labels for what has labels of its own.
        UnknownName: no such model of pairs.
        WeightsError, ZooError: its files are damaged.
    """
    from zoo.pair_targets import is_pair, needs_labels, open_zero_shot  # which need this module

    if labels is not None:
        return open_zero_shot(path, labels, templates)
    if is_pair(path):
        raise needs_labels(path)
    if templates is not None:
        raise UsageError("Templates are sentences around labels, and there are no labels.", "Add --labels.")
    path = Path(path)
    if not path.exists():
        raise UsageError(f"{path} does not exist.", "Give a run folder, a checkpoint folder or an export folder.")
    if not path.is_dir():
        raise UsageError(f"{path} is a file.", "Give the folder it is in: a run, a checkpoint or an export.")
    if is_export(path):
        return OnnxModel(path)
    if (path / MODEL_FILE).is_file():
        raise UsageError(f"{path} holds {MODEL_FILE} but no {META_FILE}.", "Copy the whole export folder again.")
    from zoo.torch_model import TorchModel

    return TorchModel(path)


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Consecutive lists of at most ``size``."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def decode_all(
    decode: Callable[[Any], np.ndarray], items: Iterable[Any], batch_size: int
) -> Iterator[tuple[list[tuple[int, np.ndarray]], list[tuple[int, str]]]]:
    """Decode in threads, a batch at a time: ``([(position, array)], [(position, why not)])`` per batch, in order."""

    def attempt(numbered: tuple[int, Any]) -> tuple[int, np.ndarray | None, str]:
        position, item = numbered
        try:
            return position, decode(item), ""
        except DataError as error:
            return position, None, error.problem

    with ThreadPoolExecutor() as pool:
        for chunk in chunks(enumerate(items), batch_size):
            done = list(pool.map(attempt, chunk))
            yield (
                [(position, array) for position, array, _ in done if array is not None],
                [(position, why) for position, array, why in done if array is None],
            )


def check_readable(readable: int, bad: int, max_bad: float) -> None:
    """Raise DataError where no input, or too small a share of them, could be read."""
    total = readable + bad
    if not readable or bad > max_bad * total:
        raise DataError(
            f"{bad} of {total} inputs could not be read.",
            f"Repair or remove them; up to {max_bad:.0%} are skipped.",
        )
