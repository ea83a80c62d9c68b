"""Resampling of waveforms by windowed sinc interpolation, in numpy and piece by piece. Imports no torch.

The kernel is that of ``torchaudio.functional.resample`` with its defaults: a sinc that is cut off at 0.99 of the lower
Nyquist frequency and dies out under a Hann window after six zero crossings (J. O. Smith, Digital Audio Resampling).
Training and serving both come here, so both hear the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np

_CROSSINGS = 6
_ROLLOFF = 0.99
_CHUNK = 1 << 16
"""About how many samples are filtered at once."""


def resample(waveform: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Float32 (n,) at ``rate`` samples a second -> float32 (ceil(n * new_rate / rate),) at ``new_rate``; silence on
    either side is assumed."""
    return np.concatenate([*resample_blocks([waveform], rate, new_rate), np.empty(0, np.float32)])


def resample_blocks(blocks: Iterable[np.ndarray], rate: int, new_rate: int) -> Iterator[np.ndarray]:
    """:func:`resample` of blocks that follow one another, as blocks: the same samples, however the waveform is cut,
    in the memory of a few blocks."""
    divisor = math.gcd(rate, new_rate)
    old, new = rate // divisor, new_rate // divisor
    if old == new:
        yield from blocks
        return
    width = _width(old, new)
    # The filter repeats after ``old`` samples. Where that is soon, several such periods are taken together: one dense
    # matrix is faster than windows that overlap many times.
    periods = math.ceil(2 * width / old)
    old, new = periods * old, periods * new
    bands = _bands(old, new, width)
    # Fixed, because sums are rounded by how many rows a product has, and the cut must not show.
    rows = max(1, _CHUNK // old)
    waiting, heard, given = np.zeros(width, np.float32), 0, 0
    for block in blocks:
        waiting = np.concatenate([waiting, block.astype(np.float32, copy=False)])
        heard += len(block)
        while len(waiting) >= rows * old + 2 * width:
            yield _filter(waiting, rows, old, new, bands)
            waiting, given = waiting[rows * old :], given + rows * new
    left = -(-new * heard // old) - given
    waiting = np.concatenate([waiting, np.zeros(2 * width + old, np.float32)])
    while left > 0:
        count = min(rows, -(-left // new))
        yield _filter(waiting, count, old, new, bands)[:left]
        waiting, left = waiting[count * old :], left - count * new


def _width(old: int, new: int) -> int:
    """Samples that the filter reaches to either side."""
    return math.ceil(_CROSSINGS * old / (min(old, new) * _ROLLOFF))


@lru_cache(maxsize=16)
def _bands(old: int, new: int, width: int) -> list[tuple[int, int, int, np.ndarray]]:
    """The filters of the ``new`` samples that take the place of ``old``: (first, last + 1, offset, taps (L, P)) each.

    Samples that lie close together share a band of the L input samples from ``offset``; all others weigh nothing
    there, so a dense matrix for rates without a common divisor would be zeros almost everywhere.
    """
    together = max(1, 2 * width * new // old)
    base = min(old, new) * _ROLLOFF
    bands = []
    for first in range(0, new, together):
        stop = min(new, first + together)
        offset = first * old // new
        reach = np.arange(offset - width, min((stop - 1) * old // new + 2, old) + width)
        t = (reach[:, None] / old - np.arange(first, stop)[None] / new) * base
        t = np.clip(t, -_CROSSINGS, _CROSSINGS)
        taps = np.sinc(t) * np.cos(t * math.pi / _CROSSINGS / 2) ** 2 * (base / old)
        bands.append((first, stop, offset, taps.astype(np.float32)))
    return bands


def _filter(
    padded: np.ndarray, rows: int, old: int, new: int, bands: list[tuple[int, int, int, np.ndarray]]
) -> np.ndarray:
    """``rows * new`` samples from the beginning of a waveform that is padded by the filter's width."""
    out = np.empty((rows, new), np.float32)
    step = padded.strides[0]
    for first, stop, offset, taps in bands:
        shape = (rows, len(taps))
        windows = np.lib.stride_tricks.as_strided(padded[offset:], shape, (old * step, step), writeable=False)
        # Overlapping rows are no matrix for BLAS.
        out[:, first:stop] = (windows if len(taps) <= old else np.ascontiguousarray(windows)) @ taps
    return out.reshape(-1)
