"""Which of a run's own samples its export is measured, calibrated and timed on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from zoo.data.dataset import Table
from zoo.exporting.parity import pick
from zoo.measure import raw_labels
from zoo.prepared import Prepared
from zoo.serve_audio import graph_inputs
from zoo.serve_model import OnnxModel
from zoo.torch_model import TorchModel

CALIBRATION_SAMPLES = 128
CALIBRATION_SECONDS = 600
CALIBRATION_BATCH = 8
TYPICAL_SAMPLES = 200


@dataclass(frozen=True)
class Samples:
    """What an export is measured on.

    Attributes:
        table: raw inputs, and their labels where these are known.
        name: ``"val"``, or ``"drawn"`` for inputs that were made up.
        calibration: gives batches as the graph takes them; None: there are no samples for it.
    """

    table: Table
    name: str = "val"
    calibration: Callable[[], list[dict[str, np.ndarray]]] | None = None

    @property
    def described(self) -> str:
        return "validation samples" if self.name == "val" else "drawn samples"


def parity_samples(data: Prepared, split: str, rows: np.ndarray) -> Table:
    """Raw inputs and labels of some of a split's readable rows, for both sides to answer from the start."""
    truth = raw_labels(data.dataset, split)
    kept = np.unique([data.tables[split].columns["owner"][row] for row in data.stores[split].kept[rows]])
    return Table(
        {
            "input": data.dataset.splits[split].take(kept).columns["input"],
            "label": [truth[row] for row in kept],
        }
    )


def calibration_batches(model: TorchModel, data: Prepared) -> list[dict[str, np.ndarray]]:
    """Batches of training samples as the graph takes them."""
    store = data.stores["train"]
    rows = pick(len(store), CALIBRATION_SAMPLES)
    if model.parts is not None:
        # Alone, as padding would count as silence; of long recordings the first part.
        parts = (model.parts.of(array)[0] for row in rows for array in store.each([row]))
        enough = CALIBRATION_SECONDS * model.meta["input"]["rate"]
        return [graph_inputs([part]) for part in _within(parts, enough)]
    name = model.pipeline.input_name
    batches = [rows[start : start + CALIBRATION_BATCH] for start in range(0, len(rows), CALIBRATION_BATCH)]
    return [
        {name: model.pipeline.prepare({name: torch.from_numpy(store.take(some))})[name].numpy()} for some in batches
    ]


def _within(arrays: Iterable[np.ndarray], total: int) -> Iterator[np.ndarray]:
    """The first of the arrays, one at least, until they are ``total`` long together."""
    for array in arrays:
        yield array
        total -= len(array)
        if total <= 0:
            return


def typical_sample(exported: OnnxModel, table: Table) -> np.ndarray:
    """The first sample, or the one of median length among the first of them, decoded."""
    items = exported.rows(table).columns["input"]
    cut = exported.texts.parts if exported.texts is not None else exported.parts.of if exported.parts else None
    if cut is None:
        return exported.decode(items[0])
    decoded = map(exported.decode, items[:TYPICAL_SAMPLES])
    arrays = sorted((part for array in decoded for part in cut(array)), key=len)
    return arrays[len(arrays) // 2]
