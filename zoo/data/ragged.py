"""Rows of unequal length: one flat array and where each row stands in it, in memory or on disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from zoo.padding import padded

ITEMS = "items.bin"
ENDS = "offsets.bin"


class RaggedRows:
    """Row ``i`` is ``flat[starts[i] : starts[i] + lengths[i]]``.

    Args:
        flat: (total, ...) the rows, which may be a memory map.
        starts, lengths: (n,) int64.
        fill: what :meth:`take` pads with.

    Attributes:
        lengths: (n,) int64.
    """

    def __init__(self, flat: np.ndarray, starts: np.ndarray, lengths: np.ndarray, fill: int = 0) -> None:
        self.flat, self.starts, self.fill = flat, starts, fill
        self.lengths = lengths

    def __len__(self) -> int:
        return len(self.starts)

    def each(self, rows: Iterable[int] | np.ndarray) -> list[np.ndarray]:
        """The rows, each (length, ...): views of the flat array."""
        return [self.flat[self.starts[row] : self.starts[row] + self.lengths[row]] for row in rows]

    def parts(self, rows: np.ndarray, first: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
        """``lengths[i]`` elements of row ``rows[i]`` from ``first[i]`` on: views of the flat array."""
        begins = self.starts[rows] + first
        return [self.flat[begin : begin + length] for begin, length in zip(begins, lengths, strict=True)]

    def take(self, rows: np.ndarray) -> np.ndarray:
        """(len(rows), longest of them, ...), padded at the end; a fresh array."""
        return padded(self.each(rows), self.flat.shape[1:], self.flat.dtype, self.fill)


def ragged(arrays: Sequence[Any], dtype: npt.DTypeLike, fill: int = 0) -> RaggedRows:
    """Lists or 1-D arrays as rows."""
    lengths = np.array([len(array) for array in arrays], dtype=np.int64)
    flat = np.concatenate([np.asarray(array, dtype=dtype) for array in arrays] or [np.empty(0, dtype)])
    return RaggedRows(flat, np.cumsum(lengths) - lengths, lengths, fill)


class RaggedWriter:
    """Writes rows one after another into a folder that :func:`open_ragged` reads; memory stays as it is.

    Attributes:
        count, length, bytes: rows written so far, the sum of their lengths, and their size.
    """

    def __init__(self, folder: Path) -> None:
        self.items, self.ends = open(folder / ITEMS, "wb"), open(folder / ENDS, "wb")  # noqa: SIM115
        self.ends.write(np.zeros(1, np.int64).data)
        self.count = self.length = self.bytes = 0

    def add(self, array: np.ndarray) -> None:
        """Append a row."""
        self.count += 1
        self.length += len(array)
        self.bytes += array.nbytes
        self.items.write(np.ascontiguousarray(array).data)
        self.ends.write(np.int64(self.length).tobytes())

    def __enter__(self) -> RaggedWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.items.close()
        self.ends.close()


def open_ragged(folder: Path, rows: int, rest: tuple[int, ...], dtype: npt.DTypeLike) -> RaggedRows | None:
    """The rows in a folder, as read-only memory maps; None where the files are missing or not of the right size."""
    try:
        offsets, flat = map_file(folder / ENDS, np.int64), map_file(folder / ITEMS, dtype, rest)
    except (OSError, ValueError):
        return None
    if len(offsets) != rows + 1 or offsets[0] != 0 or offsets[-1] != len(flat):
        return None
    lengths = np.diff(offsets)
    return RaggedRows(flat, offsets[:-1], lengths) if (lengths >= 0).all() else None


def map_file(path: Path, dtype: npt.DTypeLike, rest: tuple[int, ...] = ()) -> np.ndarray:
    """A whole file as a read-only memory map (n, *rest).

    Raises:
        OSError: it cannot be read.
        ValueError: its size is no multiple of an item's.
    """
    if path.stat().st_size == 0:  # which numpy refuses to map
        return np.empty((0, *rest), dtype)
    return np.asarray(np.memmap(path, dtype=dtype, mode="r")).reshape(-1, *rest)
