"""Sound to tensors: decoded once to int16 at the model's rate, then varied per batch on the device."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from zoo import sounds
from zoo.protocols import RAGGED, Batch, Draws
from zoo_audio.augment import Augmentation, augment_waveforms
from zoo_registry.specs import InputSpec


class AudioPipeline:
    """A :class:`zoo.protocols.Pipeline` of sound, and :class:`zoo.protocols.Windowed`.

    ``decode`` gives int16 (n,) of one channel at the model's rate (:mod:`zoo.sounds`). ``prepare`` gives ``waveform``
    float32 (B, T) in [-1, 1), zero beyond each ``length``; ``augment`` the same, varied (:mod:`zoo_audio.augment`),
    its lengths following the speed but never beyond ``window``.

    Args:
        input_spec: ``rate`` in samples a second, ``seconds`` that the network hears at once (0: whole recordings).
        augmentation: ranges of the training transform.

    Attributes:
        rate: samples a second.
        window: samples that the network hears at once; 0: whole recordings.
        longest: samples of the longest recording that is trained on; 0: any.

    Raises:
        PluginError: the spec is no usable sound contract.
    """

    modality = "audio"
    input_name = "waveform"
    shape: tuple[int, ...] = (RAGGED,)
    dtype: np.dtype[Any] = np.dtype(np.int16)
    longest = 0

    def __init__(self, input_spec: InputSpec, augmentation: Augmentation | None = None) -> None:
        self.input = sounds.check_spec(input_spec)
        self.augmentation = augmentation or Augmentation()
        self.rate = input_spec.rate
        self.window = round(input_spec.seconds * input_spec.rate)

    @property
    def key(self) -> str:
        """The length of windows is not part of it: they are cut from the same decoded recordings."""
        return f"audio/v{sounds.VERSION}/{self.rate}"

    def decode(self, item: Any) -> np.ndarray:
        """A raw item (see :func:`zoo.sounds.open_sound`) as int16 (n,).

        Raises:
            DataError: as :func:`zoo.sounds.open_sound`.
        """
        return sounds.open_sound(item, self.rate)

    def prepare(self, batch: Batch) -> Batch:
        """``waveform`` int16 (B, T) with ``length`` (B,) -> float32 in [-1, 1); every other tensor is kept."""
        waveform, length = batch[self.input_name], batch["length"].to(torch.int64)
        inside = torch.arange(waveform.shape[1], device=waveform.device) < length[:, None]
        scaled = waveform.to(torch.float32).div_(sounds.FULL_SCALE).mul_(inside)
        return {**batch, self.input_name: scaled, "length": length}

    def augment(self, batch: Batch, draws: Draws) -> Batch:
        """What :meth:`prepare` gives, varied per sample, with the new lengths."""
        batch = self.prepare(batch)
        waveform, length = augment_waveforms(
            batch[self.input_name], batch["length"], draws, self.augmentation, self.rate, self.window
        )
        return {**batch, self.input_name: waveform, "length": length}

    def describe(self) -> dict[str, Any]:
        """What it takes to repeat decode and prepare without torch."""
        return sounds.describe_input(self.input)


def audio_pipeline(input_spec: InputSpec) -> AudioPipeline:
    """The pipeline of every sound model, with the default augmentation.

    Raises:
        PluginError: the spec is no usable sound contract.
    """
    return AudioPipeline(input_spec)
