"""Random numbers for tasks that draw more than a view of the data can know about: patches to hide, noise, latents.

A view leaves one number a sample in the batch, its key, and the task draws from that. So what is drawn is a function of
(seed, epoch, sample) whatever batch, micro-batch or process a sample falls into.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from zoo.data.draws import HashDraws
from zoo.objectives import View
from zoo.protocols import Batch, Draws
from zoo_registry.errors import UsageError
from zoo_vision.augment import Augmentation
from zoo_vision.pipeline import ImagePipeline

KEY = "key"
_BITS = 24  # of one draw


class KeyedView(View):
    """Random crops and flips, with colours left as they are, and ``key`` (B,) int64, another in each epoch. Evaluation
    has plain pictures, and the same keys every time.

    Args:
        pipeline: of the model, with an image contract.
        seed: of the run.
        crop: smallest share of a picture's area that a crop shows.
    """

    def __init__(self, pipeline: Any, seed: int, crop: float) -> None:
        super().__init__(pipeline, seed)
        self.maker = ImagePipeline(pipeline.input, Augmentation(crop_scale=(crop, 1.0), jitter=(0.0, 0.0, 0.0)))

    def augment(self, batch: Batch, draws: Draws) -> Batch:
        return self.corrupt(self.maker.augment(batch, draws), draws)

    def corrupt(self, batch: Batch, draws: Draws) -> Batch:
        high, low = (draws.uniform(KEY, 2) * 2.0**_BITS).to(torch.int64).unbind(1)
        return {**batch, KEY: high * 2**_BITS + low}


def check_crop(crop: float) -> None:
    """Refuse what is no share of a picture.

    Raises:
        UsageError: outside (0, 1].
    """
    if not 0 < crop <= 1:
        raise UsageError(f"crop is {crop}, which is no share of a picture.", "Give more than 0, at most 1.")


def uniform(key: Tensor, stream: str, size: int) -> Tensor:
    """key (B,) -> (B, size) float32 in [0, 1), one row a sample; ``stream`` names the use."""
    return HashDraws(0, 0, key).uniform(stream, size)


def normal(key: Tensor, stream: str, size: int) -> Tensor:
    """key (B,) -> (B, size) float32 of the standard normal distribution."""
    # In the middle of each of the 2 ** 24 steps, so that neither end maps to infinity.
    return torch.erfinv(2 * uniform(key, stream, size) - 1 + 2.0**-_BITS) * 2**0.5


def shuffled(key: Tensor, stream: str, size: int) -> Tensor:
    """key (B,) -> (B, size) int64, a random order of ``range(size)`` for each sample."""
    return uniform(key, stream, size).argsort(dim=1, stable=True)
