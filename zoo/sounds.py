"""Sound files to a network's input, without torch: what training caches, prediction and serving share.

A clip is decoded once, to int16 at the model's rate: the mean of the channels, resampled (:mod:`zoo.sinc`) and rounded.
It is read in blocks, so that a long recording takes the memory of its result and little more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from zoo.sinc import resample_blocks
from zoo.sound_files import BLOCK, audio_file, mono_blocks, opened, seconds_of
from zoo_registry.errors import DataError, PluginError
from zoo_registry.specs import InputSpec

VERSION = 1
"""Raised whenever the same file and rate would decode to other samples, so that caches are not reused."""

FULL_SCALE = 32768
"""The int16 value of the sample 1.0, were there one."""

_MOST_CHANNELS = 64
"""Rows of an array that may be channels; more are samples that lie the wrong way round."""
_QUIET = 8
"""Largest value of a silent clip: 72 dB below full scale, the noise of nothing but a converter."""
_CLIPPED_SHARE = 0.001


def check_spec(spec: InputSpec) -> InputSpec:
    """``spec``, if sound can be prepared for it.

    Raises:
        PluginError: no audio spec, or one without a rate.
    """
    problem = ""
    if spec.modality != "audio":
        problem = f"the modality is {spec.modality!r}"
    elif spec.rate < 1:
        problem = f"the rate is {spec.rate} samples a second"
    elif not spec.seconds >= 0:
        problem = f"the longest stretch is {spec.seconds} s"
    if problem:
        raise PluginError(
            f"Sound cannot be prepared for this input contract: {problem}.",
            "Correct the InputSpec of the model or weights in its plugin.",
        )
    return spec


def open_sound(item: Any, rate: int) -> np.ndarray:
    """A raw item as int16 (n,) at ``rate`` samples a second.

    Args:
        item: a path; the bytes of a file; ``{"path" or "bytes": ..., "start": s, "end": s}`` with the seconds of a
            stretch, each optional; or ``{"array": (n,) or (channels, n), "sampling_rate": samples a second}``, floats
            with full scale at 1 or integers with full scale at their largest, with ``start`` and ``end`` as well.

    Raises:
        DataError: missing, empty, cut off or no sound; samples that are no finite numbers; a stretch that is not in
            the file. Names the path.
        MissingDependency: soundfile is not installed.
    """
    if isinstance(item, Mapping) and item.get("array") is not None:
        old_rate, blocks = _array(item)
        return _to_int16(resample_blocks(blocks, old_rate, rate))
    source, name = audio_file(item)
    start, end = (
        seconds_of(item.get(what), what, name) if isinstance(item, Mapping) else None for what in ("start", "end")
    )
    with opened(source, name) as file:
        return _to_int16(resample_blocks(mono_blocks(file, source, name, start, end), file.samplerate, rate))


def quality(samples: np.ndarray) -> tuple[str, ...]:
    """What a careful person would hear of a clip int16 (n,): ``"silent"`` where no sample is louder than -72 dB,
    ``"clipped"`` where one in a thousand and four at least lie at the ends of the range."""
    if not len(samples):
        return ("silent",)
    low, high = int(samples.min()), int(samples.max())
    if max(-low, high) <= _QUIET:
        return ("silent",)
    if high < FULL_SCALE - 1 and low > 1 - FULL_SCALE:
        return ()
    full = int(np.count_nonzero((samples == FULL_SCALE - 1) | (samples <= 1 - FULL_SCALE)))
    return ("clipped",) if full >= max(4, _CLIPPED_SHARE * len(samples)) else ()


def describe_input(spec: InputSpec) -> dict[str, Any]:
    """The contract as JSON values: everything that :func:`open_sound` and the windows of long clips need."""
    return {"kind": "audio", "version": VERSION, "rate": spec.rate, "seconds": spec.seconds}


def spec_from(describe: dict[str, Any]) -> InputSpec:
    """The input contract that :func:`describe_input` wrote.

    Raises:
        DataError: no description of audio preprocessing, or one of another version.
    """
    try:
        kind, version = describe["kind"], describe["version"]
        spec = InputSpec(modality=kind, rate=int(describe["rate"]), seconds=float(describe["seconds"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"The description of the preprocessing is not complete ({error!r}).",
            "Take model.json as zoo wrote it, or export the run again.",
        ) from error
    if kind != "audio" or version != VERSION:
        raise DataError(
            f"The preprocessing is of kind {kind!r} version {version!r}; this zoo knows 'audio' version {VERSION}.",
            "Use the zoo version that wrote it, or export the run again.",
        )
    return check_spec(spec)


def _to_int16(blocks: Iterable[np.ndarray]) -> np.ndarray:
    # A buffer that grows in place: joining a list of blocks would hold every sample twice.
    buffer = bytearray()
    for block in blocks:
        buffer += np.clip(np.rint(block * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16).data
    return np.frombuffer(buffer, np.int16)


def _array(item: Mapping[str, Any]) -> tuple[int, Iterator[np.ndarray]]:
    """(rate, mono float32 blocks) of an array in memory."""
    name = "A sound given as an array"
    array, rate = np.asarray(item["array"]), item.get("sampling_rate")
    if not isinstance(rate, int | np.integer) or rate < 1:
        raise DataError(f"{name} has the sampling rate {rate!r}.", "Give samples a second, such as 16000.")
    if array.dtype.kind not in "fi" or array.ndim not in (1, 2):
        raise DataError(
            f"{name} is of type {array.dtype} and shape {array.shape}.", "Give numbers as (n,) or (channels, n)."
        )
    channels = array if array.ndim == 2 else array[None]
    if len(channels) > _MOST_CHANNELS:
        raise DataError(f"{name} has {len(channels):,} channels.", "Transpose it to (channels, n).")
    start, end = seconds_of(item.get("start"), "start", name), seconds_of(item.get("end"), "end", name)
    first, stop = round((start or 0) * rate), None if end is None else round(end * rate)
    channels = channels[:, first:stop]
    if not channels.size:
        raise DataError(f"{name} holds no samples.", "Check it, and the stretch asked for.")
    scale = 1.0 if array.dtype.kind == "f" else 1.0 / (np.iinfo(array.dtype).max + 1.0)

    def blocks() -> Iterator[np.ndarray]:
        for at in range(0, channels.shape[1], BLOCK):
            mono = (channels[:, at : at + BLOCK].mean(axis=0, dtype=np.float64) * scale).astype(np.float32)
            if not np.isfinite(mono).all():
                raise DataError(f"{name} holds samples that are no finite numbers.", "Repair or remove it.")
            yield mono

    return int(rate), blocks()
