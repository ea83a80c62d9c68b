"""A teacher that follows its student: the exponential moving average of the student's weights (Tarvainen and Valpola
2017, arXiv:1703.01780), as BYOL and DINO have it.

The teacher is always in evaluation mode. Its batch normalisation uses running statistics that follow the student's like
the weights do (Cai et al., "Exponential moving average normalization for self-supervised and semi-supervised learning",
CVPR 2021): what it says of an image does not depend on the batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from zoo.objectives import check_share
from zoo.protocols import Metrics
from zoo_vision.objectives.joint import JointTask
from zoo_vision.objectives.watch import Watch


def momentum_at(step: int, total: int, start: float) -> float:
    """Share of itself that a teacher keeps after the ``step``-th of ``total`` steps: from ``start`` to 1 in half a
    cosine (Grill et al. 2020, section 3.1)."""
    return 1 - (1 - start) * (math.cos(math.pi * step / total) + 1) / 2


def frozen(module: Any) -> Any:
    """The module, which no gradient reaches any more, in evaluation mode."""
    return module.requires_grad_(False).eval()


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float, step: int) -> None:
    """Move the teacher's weights, and what it has of running statistics, towards the student's.

    Args:
        step: that was just taken, from 1 on. Statistics start from no image at all, so the first are taken over whole
            and the next few averaged evenly.
    """
    torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1 - momentum)
    weight = max(1 - momentum, 1 / step)
    for mine, theirs in zip(teacher.buffers(), student.buffers(), strict=True):
        if mine.is_floating_point():
            mine.lerp_(theirs, weight)
        else:
            mine.copy_(theirs)


class TeacherTask(JointTask):
    """A task with teachers. The loss of learning from oneself is no measure of what is learnt: the best weights are
    those of the best neighbours where classes are known, else the last ones, by the metric ``updates``.

    Args:
        momentum: at which teachers start to follow, in (0, 1).
    """

    updates: Tensor

    def __init__(self, backbone: Any, classes: tuple[str, ...], momentum: float) -> None:
        super().__init__(backbone, classes)
        check_share("momentum", momentum)
        self.momentum = momentum
        self.monitor = ("knn_accuracy", "max") if classes else ("updates", "max")
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def teachers(self) -> Sequence[tuple[nn.Module, nn.Module]]:
        """Each teacher with its student, built alike."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for teacher, _ in self.teachers():
            teacher.eval()
        return self

    def after_step(self, step: int, total: int) -> None:
        momentum = momentum_at(step, total, self.momentum)
        for teacher, student in self.teachers():
            follow(teacher, student, momentum, step)
        self.updates.fill_(step)

    def metrics(self) -> Metrics:
        """See :class:`zoo_vision.objectives.watch.Watch`."""
        return Watch(self.classes, {} if self.classes else {"updates": float(self.updates)})
