"""Equal data, equal fingerprint."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from zoo.data.dataset import Table
from zoo.data.items import identity
from zoo.pairs import sides


def fingerprint(splits: Mapping[str, Table], labels: Sequence[str], modality: str, root: str) -> str:
    """sha256 over each split's items (name relative to ``root``, size and time of files; the content of anything else)
    and labels, and over the class names. The same files under another root give the same fingerprint."""
    digest = hashlib.sha256("\0".join(labels).encode("utf-8", "surrogatepass"))
    prefix = os.path.join(os.path.abspath(root), "")
    for split in sorted(splits):
        columns = splits[split].columns
        digest.update(f"\n{split}".encode())
        for item, label in zip(columns["input"], columns["label"], strict=True):
            text = f"\n{_relative(item, modality, prefix)}\0{label!r}"
            digest.update(text.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _relative(item: Any, modality: str, prefix: str) -> str:
    """An item's identity, files under their name below the root."""
    if pair := sides(modality):
        return "\0".join(_relative(one, side, prefix) for one, side in zip(item, pair, strict=True))
    return identity(item, modality).removeprefix(prefix)
