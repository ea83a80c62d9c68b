"""One look at what a network makes of something, which leaves it as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def evaluating(module: Any) -> Iterator[Any]:
    """The module in evaluation mode and without gradients inside; in the mode it had before afterwards."""
    training = module.training
    try:
        with torch.no_grad():
            yield module.eval()
    finally:
        module.train(training)
