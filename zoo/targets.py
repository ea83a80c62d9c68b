"""What evaluate and predict work on: a run, its model folder, a checkpoint, an export. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from zoo.serve_model import META_FILE, MODEL_FILE, OnnxModel, is_export
from zoo_registry.errors import DataError, UsageError

T = TypeVar("T")


class Model(Protocol):
    """The least that predicting needs; :class:`zoo.serve_model.OnnxModel` and :class:`zoo.torch_model.TorchModel`."""

    backend: str
    task: str
    labels: tuple[str, ...]
    meta: dict[str, Any]

    def decode(self, item: Any) -> np.ndarray: ...

    def run(self, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]: ...


def open_target(path: str | Path) -> Model:
    """Load whatever ``path`` is: an export with onnxruntime alone, everything else with torch.

    Raises:
        UsageError: nothing there, or nothing that zoo wrote.
        WeightsError, ZooError: its files are damaged.
    """
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
    model: Model, items: Iterable[Any], batch_size: int
) -> Iterator[tuple[list[tuple[int, np.ndarray]], list[tuple[int, str]]]]:
    """Decode in threads, a batch at a time: ``([(position, array)], [(position, why not)])`` per batch, in order."""

    def attempt(numbered: tuple[int, Any]) -> tuple[int, np.ndarray | None, str]:
        position, item = numbered
        try:
            return position, model.decode(item), ""
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
