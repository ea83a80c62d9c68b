"""The pipeline of networks that hear an image of a fixed width: where in it a recording stands is left to chance."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.protocols import Batch, Draws
from zoo_audio.augment import Augmentation
from zoo_audio.pipeline import AudioPipeline
from zoo_registry.specs import InputSpec

AUGMENTATION = Augmentation(speed=(0.8, 1.25))
"""Few speakers are recorded often: a wide range of speeds, which moves pitch and formants too, stands in for others."""


class PlacedPipeline(AudioPipeline):
    """An :class:`AudioPipeline` whose ``augment`` also puts silence before each recording, as much as its window has
    room for at most. A network of pictures knows where in its image something is; without this it learns how long
    its speakers speak, and when.
    """

    def augment(self, batch: Batch, draws: Draws) -> Batch:
        """What :meth:`AudioPipeline.augment` gives, each recording somewhere in the window."""
        batch = super().augment(batch, draws)
        if not self.window:
            return batch
        waveform, length = placed(batch[self.input_name], batch["length"], draws.uniform("place", 1)[:, 0], self.window)
        return {**batch, self.input_name: waveform, "length": length}


def placed(waveform: Tensor, length: Tensor, where: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """float32 (B, T), zero beyond each length (B,) -> (B, window) with zeros in front, and the lengths with them.

    Args:
        where: (B,) in [0, 1): 0 the start of the window, 1 as late as the recording fits.
        window: samples, no fewer than any length.
    """
    room = (window - length).clamp(min=0)
    offset = (where * (room + 1)).to(torch.int64).minimum(room)
    source = torch.arange(window, device=waveform.device) - offset[:, None]
    inside = (source >= 0) & (source < length[:, None])
    found = waveform.gather(1, source.clamp(min=0, max=waveform.shape[1] - 1))
    return found.mul_(inside), length + offset


def placed_pipeline(input_spec: InputSpec) -> PlacedPipeline:
    """The pipeline of spectrogram models.

    Raises:
        PluginError: the spec is no usable sound contract.
    """
    return PlacedPipeline(input_spec, AUGMENTATION)
