"""Writing a wheel: a zip file with metadata and a RECORD of hashes, as the binary distribution format asks.

No builder and no network are needed, since nothing is compiled or looked up. Equal contents make equal bytes.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip file can hold: that of making is not part of what is made
FILE_MODE = 0o100644 << 16
CHUNK = 1 << 20


def write_wheel(
    folder: Path,
    distribution: str,
    version: str,
    files: Mapping[str, Path | str],
    *,
    metadata: Mapping[str, str],
    readme: str,
    entry_points: str = "",
) -> Path:
    """Write ``DISTRIBUTION-VERSION-py3-none-any.whl`` and return its path.

    Args:
        distribution: as pip knows it, with dashes; the file's name has underscores instead.
        files: path inside the wheel -> a file to copy, or text.
        metadata: header fields besides name and version; values of one line.
        readme: Markdown.
        entry_points: the text of entry_points.txt; empty: none.

    Raises:
        OSError: the disk refused; a half-written wheel may stay.
    """
    stem = f"{distribution.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    header = {"Metadata-Version": "2.1", "Name": distribution, "Version": version, **metadata}
    header["Description-Content-Type"] = "text/markdown"
    told = "".join(f"{name}: {value}\n" for name, value in header.items())
    extra: dict[str, Path | str] = {
        f"{info}/METADATA": f"{told}\n{readme}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: zookit\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if entry_points:
        extra[f"{info}/entry_points.txt"] = entry_points
    path = folder / f"{stem}-py3-none-any.whl"
    record = []
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in {**files, **extra}.items():
            digest, size = _add(wheel, name, content)
            record.append(f"{name},sha256={digest},{size}\n")
        record.append(f"{info}/RECORD,,\n")
        _add(wheel, f"{info}/RECORD", "".join(record))
    return path


def _add(wheel: zipfile.ZipFile, name: str, content: Path | str) -> tuple[str, int]:
    """(url-safe base64 of the sha256 without padding, bytes) of what was added."""
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.external_attr = FILE_MODE
    if isinstance(content, str):
        data = content.encode()
        entry.compress_type = zipfile.ZIP_DEFLATED
        wheel.writestr(entry, data)
        return _encoded(hashlib.sha256(data)), len(data)
    size = content.stat().st_size
    entry.file_size = size  # by which zipfile knows that it needs 64-bit offsets
    with content.open("rb") as source, wheel.open(entry, "w") as target:  # stored: trained floats hardly compress
        shutil.copyfileobj(source, target, CHUNK)
    with content.open("rb") as source:
        return _encoded(hashlib.file_digest(source, "sha256")), size


def _encoded(digest: hashlib._Hash) -> str:
    return base64.urlsafe_b64encode(digest.digest()).decode().rstrip("=")
