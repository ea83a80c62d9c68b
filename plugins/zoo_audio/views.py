"""What heads make of the pipeline whose labels do not go with any part of a recording, or with another voice."""

from __future__ import annotations

import dataclasses
from typing import Any

from zoo import sounds
from zoo_audio.augment import Augmentation
from zoo_audio.pipeline import AudioPipeline
from zoo_registry.specs import InputSpec


def whole_clips(pipeline: AudioPipeline) -> WholeClips:
    """See :class:`WholeClips`."""
    return WholeClips(pipeline.input, pipeline.augmentation)


def own_tempo(pipeline: AudioPipeline) -> AudioPipeline:
    """The pipeline without changes of speed, which move events and turn a voice into another."""
    return AudioPipeline(pipeline.input, dataclasses.replace(pipeline.augmentation, speed=(1.0, 1.0)))


class WholeClips(AudioPipeline):
    """Recordings are never cut. What is longer than the contract's ``seconds`` is left out of training."""

    def __init__(self, input_spec: InputSpec, augmentation: Augmentation | None = None) -> None:
        super().__init__(input_spec, augmentation)
        self.window, self.longest = 0, self.window

    def describe(self) -> dict[str, Any]:
        """Without a length of windows: whoever predicts hears recordings whole, too."""
        return sounds.describe_input(dataclasses.replace(self.input, seconds=0.0))
