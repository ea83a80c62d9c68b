"""Schedules as pure functions of the step: nothing to save, nothing to restore, nothing to step twice."""

from __future__ import annotations

import math

FLOOR = 0.01  # the last steps still move a little: a rate of exactly 0 wastes them


def lr_factor(step: int, steps: int, warmup: float, schedule: str) -> float:
    """Factor on the peak learning rate at a step.

    Args:
        step: 0-based step about to be taken.
        steps: steps of the whole run.
        warmup: fraction of ``steps`` spent rising linearly; the first step already moves (1 / warm-up steps).
        schedule: ``"cosine"`` (Loshchilov & Hutter, arXiv 1608.03983), ``"linear"`` or ``"constant"``.
    """
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    if schedule == "constant":
        return 1.0
    progress = (step - rising) / max(1, steps - rising)
    left = 0.5 * (1 + math.cos(math.pi * progress)) if schedule == "cosine" else 1 - progress
    return FLOOR + (1 - FLOOR) * left


def ema_decay(step: int, decay: float) -> float:
    """Decay of the moving average after ``step`` steps: ``min(decay, (1 + step) / (10 + step))``, so that a short run
    is not an average of mostly its initial weights."""
    return min(decay, (1 + step) / (10 + step))
