"""What a careful person would hear of decoded recordings: those that are silent, and those that are clipped."""

from __future__ import annotations

import contextlib
import json
from collections import Counter

import numpy as np

from zoo.data.store import RaggedStore, Store
from zoo.paths import cache_dir
from zoo.sounds import quality

_LOOK = 200
"""Clips that are heard where each must be decoded for it."""

_FLAGS = ("silent", "clipped")


def quality_notes(store: Store, split: str) -> list[str]:
    """Notes such as ``"train: 3 of 120 clips are silent"`` on recordings int16 (n,). They are kept all the same.

    Where the recordings are decoded already, all are heard, once: the counts are kept beside them. Else 200 are, spread
    evenly.
    """
    path = cache_dir() / "decoded" / f"{store.key}.quality.json"
    try:
        heard, counts = _read(path.read_text("utf-8"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        rows = np.arange(len(store))
        if not isinstance(store, RaggedStore):
            rows = np.unique(np.linspace(0, len(store) - 1, min(len(store), _LOOK)).astype(np.int64))
        heard, counts = len(rows), Counter(flag for row in rows for flag in quality(store.each([int(row)])[0]))
        if isinstance(store, RaggedStore):
            with contextlib.suppress(OSError):  # the record only saves a pass next time
                path.write_text(json.dumps({"heard": heard, "counts": counts}), encoding="utf-8")
    of = f"{heard:,}" if heard == len(store) else f"the {heard:,} looked at of {len(store):,}"
    return [
        f"{split}: {counts[flag]:,} of {of} clips {'is' if counts[flag] == 1 else 'are'} {flag}"
        for flag in _FLAGS
        if counts.get(flag)
    ]


def _read(text: str) -> tuple[int, Counter[str]]:
    found = json.loads(text)
    return int(found["heard"]), Counter({str(flag): int(count) for flag, count in found["counts"].items()})
