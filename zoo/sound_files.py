"""Sound files as mono blocks, with every way a file can be broken said by name. Imports no torch."""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data.items import file_of
from zoo_registry.errors import DataError, MissingDependency

BLOCK = 1 << 16
"""Samples per channel that are read at once."""

_REPAIR = "Repair, replace or remove it."
_ROUNDING = 0.5
"""Seconds by which a stretch may end after its recording: tables round."""
_LOST_MP3 = 2304
"""Samples that the count in an MP3's header may be off by: encoders pad to whole frames, and decoders cut."""
_UNKNOWN = 1 << 62
"""Frames from which on libsndfile means that it does not know."""
_SIZES = re.compile(r"^\s*(?:data|SSND|Data Size|riff|Riff size)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
_STREAMED = 0x7FFF0000
"""Bytes that programs which write into a pipe claim, for want of the length."""


def audio_file(item: Any) -> tuple[Any, str]:
    """(what soundfile can open, what to call it in a message) of a path, the bytes of a file, a
    :class:`zoo.data.items.Member` of an archive, or a mapping that holds a path or bytes under ``path`` or ``bytes``.

    Raises:
        DataError: there is no such file, or it is a folder or empty.
    """
    if (found := file_of(item, "sound")) is None:
        raise DataError(
            f"An item of type {type(item).__name__} is no sound.",
            "Give a path, the bytes of a file, or an array with its sampling rate.",
        )
    source, name = found
    return (str(source) if isinstance(source, Path) else source), name


@contextmanager
def opened(source: Any, name: str) -> Iterator[Any]:
    """An open ``soundfile.SoundFile``; what libsndfile raises meanwhile becomes a DataError.

    Raises:
        MissingDependency: soundfile is not installed.
        DataError: the file is of no format that libsndfile reads, or it is damaged.
    """
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise MissingDependency(
            "Sound files are read by the package soundfile.", 'Install it: pip install "zookit[audio]".'
        ) from error
    try:
        file = soundfile.SoundFile(source)
    except (RuntimeError, TypeError, ValueError, OSError) as error:
        why = getattr(error, "error_string", "").rstrip(".") or "damaged or of an unknown format"
        raise DataError(
            f"{name} is no sound file that can be read ({why}).", f"{_REPAIR} WAV, FLAC, OGG and MP3 are read."
        ) from error
    with file:
        try:
            yield file
        except soundfile.SoundFileError as error:
            why = getattr(error, "error_string", "").rstrip(".") or "its content cannot be decoded"
            raise DataError(f"{name} is damaged or cut off ({why}).", _REPAIR) from error


def mono_blocks(file: Any, source: Any, name: str, start: float | None, end: float | None) -> Iterator[np.ndarray]:
    """The mean of the channels of an open file, as float32 blocks (at most :data:`BLOCK`,) with full scale at 1.

    Args:
        start, end: seconds; None: from the beginning, to the end. Only what lies between is read.

    Raises:
        DataError: no samples, fewer than the file's header promises, samples that are no finite numbers, or a stretch
            that does not lie in the file.
    """
    known = file.frames if file.frames < _UNKNOWN else None
    cut_off = _cut_off(file, source)
    if cut_off and (known is None or end is None or round(end * file.samplerate) > known):
        raise DataError(f"{name} is cut off: {cut_off}.", _REPAIR)
    if known == 0:
        raise DataError(f"{name} holds no samples.", _REPAIR)
    first, stop = _stretch(known, file.samplerate, name, start, end)
    wanted = _UNKNOWN if stop is None else stop - first
    _go_to(file, first)
    read = 0
    while read < wanted and len(block := file.read(min(BLOCK, wanted - read), "float32", always_2d=True)):
        read += len(block)
        mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)
        if not np.isfinite(mono).all():
            raise DataError(f"{name} holds samples that are no finite numbers.", _REPAIR)
        yield mono
    if not read:
        raise DataError(f"{name} holds no samples from {start or 0:g} s on.", _REPAIR)
    if stop is not None and known is not None and wanted - read > (_LOST_MP3 if file.format == "MP3" else 0):
        raise DataError(f"{name} is cut off: {wanted:,} samples are promised, {read:,} are there.", _REPAIR)


def about(item: Any) -> tuple[float, int, int]:
    """(seconds, samples a second, channels) that a file's header promises; the seconds are infinite where it does not
    say.

    Raises:
        DataError: as :func:`audio_file` and :func:`opened`.
    """
    source, name = audio_file(item)
    with opened(source, name) as file:
        seconds = file.frames / file.samplerate if file.frames < _UNKNOWN else math.inf
        return seconds, file.samplerate, file.channels


def seconds_of(value: Any, what: str, name: str) -> float | None:
    """A time of an item as a number; None where there is none.

    Raises:
        DataError: it is no finite number of seconds, or negative.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not math.isfinite(seconds) or seconds < 0:
        raise DataError(f"The {what} of {name} is {value!r}, which is no time in it.", "Give seconds from 0 on.")
    return seconds


def _stretch(
    frames: int | None, rate: int, name: str, start: float | None, end: float | None
) -> tuple[int, int | None]:
    """The first sample of a stretch, and the one after its last."""
    first = 0 if start is None else round(start * rate)
    if frames is not None and first >= frames:
        raise DataError(
            f"The stretch from {start:g} s of {name} begins after its end: it is {frames / rate:.2f} s long.",
            "Correct the start.",
        )
    if end is None:
        return first, frames
    stop = round(end * rate)
    if stop <= first:
        raise DataError(f"The stretch of {name} ends at {end:g} s, not after its start at {start or 0:g} s.",
                        "Correct the start or the end.")  # fmt: skip
    if frames is not None and stop > frames + _ROUNDING * rate:
        raise DataError(
            f"The stretch to {end:g} s of {name} ends after it: it is {frames / rate:.2f} s long.", "Correct the end."
        )
    return first, stop if frames is None else min(stop, frames)


def _go_to(file: Any, frame: int) -> None:
    if file.seekable():
        file.seek(frame)
        return
    while frame > 0 and len(skipped := file.read(min(frame, BLOCK), "float32", always_2d=True)):
        frame -= len(skipped)


def _cut_off(file: Any, source: Any) -> str:
    """What shows, without decoding, that a file once was longer; empty for one that seems whole."""
    if file.format == "OGG":
        return "" if _ends_with_a_page(source) else "its last page is not complete"
    for promised, there in _SIZES.findall(file.extra_info):
        if int(there) + 1 < int(promised) < _STREAMED:  # a lost byte of padding costs no sample
            return f"its header promises {int(promised):,} bytes of sound, {int(there):,} are there"
    return ""


def _ends_with_a_page(source: Any) -> bool:
    """Whether the last page of an OGG stream (RFC 3533) is all there.

    Its mark as the last one is not asked for: some encoders forget it.
    """
    largest = 27 + 255 + 255 * 255
    if isinstance(source, io.BytesIO):
        tail = source.getvalue()[-largest:]
    else:
        with open(source, "rb") as file:
            file.seek(max(0, os.path.getsize(source) - largest))
            tail = file.read()
    at = tail.rfind(b"OggS")
    if at < 0 or len(tail) < at + 27:
        return False
    table = tail[at + 27 : at + 27 + tail[at + 26]]
    return len(table) == tail[at + 26] and at + 27 + len(table) + sum(table) <= len(tail)
