"""Teaching the stages of a student apart: each sees what its teacher makes of the image so far, not what the stages
below it, which know nothing yet, make of it; so all learn at once, each from a sound input (Li et al., "Blockwisely
supervised neural architecture search with knowledge distillation", CVPR 2020; Wang et al., "Progressive blockwise
knowledge distillation", IJCAI 2018).

Between two stages the teacher's map has a few channels of any sign, the student's many that are none below zero. A
fixed code turns one into the other and keeps all of it: projections onto directions at right angles, and their
opposites, without what is below zero (Shang et al., "Understanding and improving convolutional neural networks via
concatenated rectified linear units", ICML 2016).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.evaluating import evaluating
from zoo_registry.errors import UsageError
from zoo_vision.objectives.maps import Scale

RECTIFIED_VARIANCE = 0.5 - 0.5 / math.pi
"""Variance of the positive part of a standard normal variable."""

COARSE = 4
"""Pixels to a cell from which a map is taught as the entry of the next stage: finer ones come out of a stem of one or
two layers, which cannot be what a teacher's first blocks are."""


class Apart(nn.Module):
    """The joints of a student, at which its teacher's maps are put in.

    Args:
        backbone: the student.
        scales: see :func:`zoo_vision.objectives.maps.common_scales`.

    Attributes:
        joints: number of cells -> place among the layers.

    Raises:
        UsageError: the student has no stages that can be fed, or maps narrower than twice the teacher's.
    """

    def __init__(self, backbone: Any, scales: Mapping[str, Scale]) -> None:
        super().__init__()
        height = backbone.input.size[1]
        inner = [name for name, scale in scales.items() if height / scale.grid[0] >= COARSE][:-1]
        self.joints = {name: scales[name].mine for name in inner}
        if not self.joints or not _feedable(backbone, self.joints.values()):
            raise UsageError(
                f"The stages of {backbone.spec.name} cannot be taught apart: it does not show which of its "
                "modules make the maps that it has in common with the teacher.",
                "Leave -O apart out, or choose a convolutional network such as resnet50.",
            )
        for name in inner:
            scale = scales[name]
            if scale.dim < 2 * scale.their_dim:
                raise UsageError(
                    f"The stages of {backbone.spec.name} cannot be taught apart: one is {scale.dim} channels "
                    f"wide, less than twice the teacher's {scale.their_dim}.",
                    "Leave -O apart out, or choose a wider student or a narrower teacher.",
                )
            self.register_buffer(f"code{name}", _directions(scale.dim // 2, scale.their_dim), persistent=False)

    def codes(self, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The teacher's standardised maps (B, N, D') -> what the student should have there, (B, N, D), none below 0."""
        made = {}
        for name in self.joints:
            projected = wanted[name] @ getattr(self, f"code{name}").T
            made[name] = F.relu(torch.cat([projected, -projected], dim=2))
        return made

    @contextmanager
    def fed(self, backbone: Any, codes: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
        """Inside, each stage is given the code of the one below instead of its output. That output, (B, N, D), is in
        the mapping by the time the forward pass is over."""
        own: dict[str, Tensor] = {}

        def put_in(name: str, output: Tensor) -> Tensor:
            own[name] = output.flatten(2).transpose(1, 2)
            return codes[name].to(output.dtype).transpose(1, 2).unflatten(2, output.shape[2:])

        stages = backbone.stages()
        with ExitStack() as stack:
            for name, place in self.joints.items():
                hook = stages[place].register_forward_hook(
                    lambda _module, _args, output, name=name: put_in(name, output)
                )
                stack.callback(hook.remove)
            yield own


def code_error(found: Tensor, code: Tensor) -> Tensor:
    """Squared error of an output (B, N, D), in units of a code's usual variance: (B,)."""
    return (found.float() - code).square().flatten(1).mean(dim=1) / RECTIFIED_VARIANCE


def _directions(count: int, dim: int) -> Tensor:
    """(count, dim): columns at right angles, rows of length 1 on average; the same ones each time."""
    drawn = torch.randn(count, count, generator=torch.Generator().manual_seed(count))
    return torch.linalg.qr(drawn)[0][:, :dim] * math.sqrt(count / dim)


def _feedable(backbone: Any, places: Any) -> bool:
    """Whether the outputs of ``backbone.stages()`` at these places are the layers of its features."""
    stages = backbone.stages() if hasattr(backbone, "stages") else []
    made: dict[int, Any] = {}
    with ExitStack() as stack:
        stack.enter_context(evaluating(backbone))
        for place in places:
            if place >= len(stages):
                return False
            hook = stages[place].register_forward_hook(lambda _m, _a, output, place=place: made.update({place: output}))
            stack.callback(hook.remove)
        layers = backbone(backbone.example_inputs(1), ("pooled", "layers")).layers
    found = [made.get(place) for place in places]
    return all(
        isinstance(output, Tensor)
        and output.ndim == 4
        and torch.equal(output.flatten(2).transpose(1, 2), layers[place])
        for place, output in zip(places, found, strict=True)
    )
