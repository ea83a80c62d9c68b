"""The chaos game (Barnsley, "Fractals everywhere", 1988), many points of many images at once."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from zoo.data.draws import HashDraws
from zoo_vision.fractals.systems import MOST_MAPS, Systems, matrices, shares

SLOTS = 128
"""The choice between maps is one of so many equally likely slots, of which each map has its share."""
WALKERS = 256
BURN_IN = 16
"""Steps before a walker counts. All start at one point of the attractor, and by then have spread over it."""
STEPS = 8
"""Of a block of points: few enough that on a CPU a block stays in its cache."""


def play(systems: Systems, blocks: int) -> Iterator[Tensor]:
    """``blocks`` times (STEPS * WALKERS, 3, B) float32 of points of each attractor: x, y, and a hue in [0, 1] that
    follows from the maps a point came by, the last counting most (Draves and Reckase, "The fractal flame algorithm",
    2003). A block is to be used before the next is asked for, which is written in its place.

    All images share one sequence of slots, so a step is a look-up of whole rows: no gathers over single numbers.
    """
    table, count = step_table(systems), len(systems.real)
    block = torch.zeros(STEPS, WALKERS, 3, count, device=table.device)
    block[-1, :, :2] = fixed_points(table)  # and hue 0, the first map's
    slots = slot_sequence(BURN_IN + blocks * STEPS, table.device)
    for step, chosen in enumerate(slots):
        a, b, c, d, e, f, hue = table.index_select(0, chosen).unbind(1)
        x, y, tint = block[(step - 1) % STEPS].unbind(1)
        x_next, y_next, tint_next = block[step % STEPS].unbind(1)
        torch.addcmul(torch.addcmul(e, a, x), b, y, out=x_next)
        torch.addcmul(torch.addcmul(f, c, x), d, y, out=y_next)
        torch.add(hue, tint, alpha=0.5, out=tint_next)
        if step >= BURN_IN and step % STEPS == STEPS - 1:
            yield block.view(-1, 3, count)


def fixed_points(table: Tensor) -> Tensor:
    """(2, B): the point that the first map of each system leaves where it is, which the attractor therefore has."""
    a, b, c, d, e, f = table[0, :6]
    determinant = (1 - a) * (1 - d) - b * c
    return torch.stack([(1 - d) * e + b * f, c * e + (1 - a) * f]) / determinant


def slot_sequence(steps: int, device: torch.device) -> Tensor:
    """(steps, WALKERS) int64 in [0, SLOTS): the same in every run."""
    draws = HashDraws(0, 0, torch.arange(steps, device=device))
    return (draws.uniform("slots", WALKERS) * SLOTS).long()


def step_table(systems: Systems) -> Tensor:
    """(SLOTS, 7, B): by slot the map's a, b, c, d, e, f of (x, y) -> (a x + b y + e, c x + d y + f), and half its
    hue."""
    matrix, share = matrices(systems), shares(systems)
    hue = torch.arange(MOST_MAPS, device=share.device) / (systems.real.sum(1, keepdim=True) - 1) / 2
    maps = torch.cat([matrix.flatten(2), systems.shift, hue[..., None]], dim=2)  # (B, M, 7)
    middle = (torch.arange(SLOTS, device=share.device) + 0.5) / SLOTS
    which = (middle[:, None] > share.cumsum(1)[:, None, :-1]).sum(-1)  # (B, SLOTS)
    which = torch.minimum(which, systems.real.sum(1, keepdim=True) - 1)  # a last share may round to below 1
    return maps.gather(1, which[..., None].expand(-1, -1, 7)).permute(1, 2, 0).contiguous()
