"""Systems of contractions of the plane, drawn so that their attractors are worth looking at, and small changes of them.

B images, M the most maps of a system, x -> R(turn) diag(stretch) R(lean) diag(flip) x + shift each.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.protocols import Draws

LEAST_MAPS, MOST_MAPS = 2, 8
STRONGEST = 0.95
"""The largest singular value of any map: below 1, so that each contracts and the attractor exists and is bounded."""
_LEAST_SHARE = 0.02
"""Of the chaos game's steps that a map gets, however small its part of the attractor."""


@dataclass(frozen=True)
class Systems:
    """One system an image, its maps by their singular value decompositions.

    Attributes:
        turn, lean: (B, M) rotations in radians.
        stretch: (B, M, 2) singular values, the larger first, at most STRONGEST.
        flip: (B, M, 2) signs, -1 or 1.
        shift: (B, M, 2).
        real: (B, M) bool; a system has as many maps as it has trues.
    """

    turn: Tensor
    lean: Tensor
    stretch: Tensor
    flip: Tensor
    shift: Tensor
    real: Tensor


def draw_systems(draws: Draws) -> Systems:
    """2 to 8 maps, whose singular values s1 >= s2 are drawn uniformly under the constraint that the sum of s1 + 2 s2
    over a system is between (5 + maps) / 2 and (6 + maps) / 2: sparser attractors are dust, denser ones blobs
    (Anderson and Farrell, section 4 and algorithm 1)."""
    shape = draws.uniform("system", 2)
    maps = LEAST_MAPS + (shape[:, 0] * (MOST_MAPS - LEAST_MAPS + 1)).long()
    real = torch.arange(MOST_MAPS, device=maps.device) < maps[:, None]
    angles = 2 * math.pi * draws.uniform("angles", 2 * MOST_MAPS)
    return Systems(
        turn=angles[:, :MOST_MAPS],
        lean=angles[:, MOST_MAPS:],
        stretch=_singular_values(maps, (5 + maps + shape[:, 1]) / 2, draws.uniform("singular values", 2 * MOST_MAPS)),
        flip=_pairs(torch.where(draws.uniform("flips", 2 * MOST_MAPS) < 0.5, -1.0, 1.0)),
        shift=_pairs(2 * draws.uniform("shifts", 2 * MOST_MAPS) - 1),
        real=real,
    )


def _singular_values(maps: Tensor, total: Tensor, uniform: Tensor) -> Tensor:
    """(B, M, 2), whose s1 + 2 s2 over the first ``maps`` (B,) sum to ``total`` (B,). ``uniform``: (B, 2 M)."""
    high = total.clone()  # what is left for this map and those after it
    low = total - 3 * STRONGEST * (maps - 1)  # what those after it could not take together
    values = []
    for place in range(MOST_MAPS):
        first, second = uniform[:, 2 * place], uniform[:, 2 * place + 1]
        s1 = _between((low / 3).clamp(min=0), high.clamp(max=STRONGEST), first)
        s2 = _between(((low - s1) / 2).clamp(min=0), torch.minimum(s1, (high - s1) / 2), second)
        last_s2 = _between(((high - STRONGEST) / 2).clamp(min=0), high / 3, second)
        last = maps == place + 1
        s2 = torch.where(last, last_s2, s2)
        s1 = torch.where(last, high - 2 * last_s2, s1)
        values.append(torch.stack([s1, s2], dim=1))
        high = high - s1 - 2 * s2
        low = low - s1 - 2 * s2 + 3 * STRONGEST
    return torch.stack(values, dim=1)


def _between(low: Tensor, high: Tensor, uniform: Tensor) -> Tensor:
    return low + uniform * (high - low)


def perturb(systems: Systems, draws: Draws) -> Systems:
    """The systems with every number a little other: angles by up to 0.15 rad, stretches by up to 8 % (never beyond
    STRONGEST), shifts by up to 0.08."""

    def around(stream: str, most: float, count: int) -> Tensor:
        return most * (2 * draws.uniform(stream, count) - 1)

    angles = around("angles", 0.15, 2 * MOST_MAPS)
    scale = 1 + around("stretches", 0.08, MOST_MAPS)
    return dataclasses.replace(
        systems,
        turn=systems.turn + angles[:, :MOST_MAPS],
        lean=systems.lean + angles[:, MOST_MAPS:],
        stretch=(systems.stretch * scale[..., None]).clamp(max=STRONGEST),
        shift=systems.shift + _pairs(around("shifts", 0.08, 2 * MOST_MAPS)),
    )


def _pairs(values: Tensor) -> Tensor:
    return values.view(len(values), MOST_MAPS, 2)


def matrices(systems: Systems) -> Tensor:
    """(B, M, 2, 2): the linear parts."""
    left = _rotation(systems.turn) * systems.stretch[..., None, :]
    right = _rotation(systems.lean) * systems.flip[..., None, :]
    # Written out: the rounding of a batched matrix product may follow the size of the batch.
    return left[..., :, :1] * right[..., :1, :] + left[..., :, 1:] * right[..., 1:, :]


def _rotation(angle: Tensor) -> Tensor:
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos, -sin, sin, cos], dim=-1).view(*angle.shape, 2, 2)


def shares(systems: Systems) -> Tensor:
    """(B, M): how often the chaos game takes each map: in proportion to the area it maps a unit square to, so that the
    attractor is covered evenly; 0 for maps that are not there."""
    area = systems.stretch.prod(-1) * systems.real
    share = area / area.sum(1, keepdim=True).clamp(min=1e-12)
    share = share.clamp(min=_LEAST_SHARE) * systems.real
    return share / share.sum(1, keepdim=True)
