"""Equal data, equal fingerprint."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence

from zoo.data.dataset import Table
from zoo.data.items import identity


def fingerprint(splits: Mapping[str, Table], labels: Sequence[str], modality: str, root: str) -> str:
    """sha256 over each split's items (name relative to ``root``, size and time of files; the content of anything else)
    and labels, and over the class names. The same files under another root give the same fingerprint."""
    digest = hashlib.sha256("\0".join(labels).encode("utf-8", "surrogatepass"))
    prefix = os.path.join(os.path.abspath(root), "")
    for split in sorted(splits):
        columns = splits[split].columns
        digest.update(f"\n{split}".encode())
        for item, label in zip(columns["input"], columns["label"], strict=True):
            text = f"\n{identity(item, modality).removeprefix(prefix)}\0{label!r}"
            digest.update(text.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
