"""From the number of an image to its pixels."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from zoo.data.draws import HashDraws
from zoo_vision.fractals.chaos import STEPS, WALKERS, play
from zoo_vision.fractals.numbers import unpack
from zoo_vision.fractals.paint import Counter, frame, paint
from zoo_vision.fractals.systems import draw_systems, perturb

CHUNK = 15
"""Images at once on a CPU: a block of points is then just too small for torch to divide one operation between threads,
because dividing the images is worth more."""
CHUNK_ON_DEVICE = 256
_POINTS = 2
"""For each pixel of the canvas."""


def render_fractals(number: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Pictures of fractals, made on the device that their numbers are on.

    Args:
        number: (B,) int64; see :mod:`zoo_vision.fractals.numbers`. Each picture is a function of its own number alone.
        shape: (3, H, W), or (1, H, W) for greyscale.

    Returns:
        (B, *shape) uint8
    """
    height, width = shape[1:]
    if number.device.type != "cpu":
        pixels = torch.cat([_render(part, height, width) for part in number.split(CHUNK_ON_DEVICE)])
    else:
        with ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="zoo-fractals") as pool:
            pixels = torch.cat(list(pool.map(lambda part: _render(part, height, width), number.split(CHUNK))))
    if shape[0] == 1:
        weights = torch.tensor([0.299, 0.587, 0.114], device=number.device)[:, None, None]  # ITU-R BT.601, as PIL
        pixels = (pixels * weights).sum(1, keepdim=True).round().to(torch.uint8)
    return pixels


def _render(number: Tensor, height: int, width: int) -> Tensor:
    label, image = unpack(number)
    draws = HashDraws(1, 0, image)
    systems = perturb(draw_systems(HashDraws(0, 0, label)), draws)
    blocks = -(-_POINTS * height * width // (STEPS * WALKERS))
    counter: Counter | None = None
    for points in play(systems, blocks):
        # The first block tells where the attractor lies; a few points later ones may lie outside the canvas for it.
        counter = counter or Counter(frame(points, draws, height, width), height, width)
        counter.add(points)
    assert counter is not None
    return paint(*counter.result(), draws)
