"""Where the files of a tar archive lie in it. Nothing is unpacked, and no name in an archive ever becomes a path."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path

from zoo.data.items import Member
from zoo_registry.errors import DataError

_BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True)
class Index:
    """A read archive.

    Attributes:
        members: its plain files, in order; links and devices are left out.
        cut: the name of the one that it ends within, if it does.
        broken: what is wrong with it, as the end of a sentence; empty where nothing is.
        unread: its last bytes, of which nothing is known.
    """

    members: list[Member]
    cut: list[str]
    broken: str = ""
    unread: int = 0


def index_tar(path: Path) -> Index:
    """Read an uncompressed archive's headers, and no file's content.

    Raises:
        DataError: it is no archive, an empty one, or cannot be read.
    """
    try:
        size = path.stat().st_size
        if size == 0:
            raise DataError(f"{path} is empty (0 bytes).", "Write or fetch it anew.")
        return _index(path, size)
    except tarfile.TarError:
        packed = _is_compressed(path)
        raise DataError(
            f"{path} is {'a compressed archive' if packed else 'no tar archive'}.",
            "Uncompress it first: files are read where they lie." if packed else "Check the file, or remove it.",
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", "Check the file and its permissions.") from error


def _index(path: Path, size: int) -> Index:
    members: list[Member] = []
    cut: list[str] = []
    damaged = False
    with tarfile.open(path, "r:") as archive:
        while not damaged and not cut:
            try:
                info = archive.next()
            except tarfile.ReadError:  # within a header, or beyond the end
                damaged = archive.offset < size
                break
            if info is None:
                break
            archive.members.clear()  # type: ignore[attr-defined]  # else memory holds every header
            if info.size < 0:
                damaged = True
            elif info.offset_data + info.size > size:
                cut.append(info.name)
            elif info.isreg() and not info.issparse():
                members.append(Member(str(path), info.name, info.offset_data, info.size))
        end = min(archive.offset, size)
    if cut:
        return Index(members, cut, f"ends within {cut[0]}")
    with path.open("rb") as file:
        file.seek(end)
        mark = file.read(_BLOCK)
    # tarfile takes a header that is none for the end, wherever it stands.
    if damaged or mark.strip(b"\0"):
        return Index(members, cut, f"is damaged from byte {end:,} on", size - end)
    return Index(members, cut, "" if len(mark) == _BLOCK else "ends without the mark of an end")


def _is_compressed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"))
