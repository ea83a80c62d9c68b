"""What the objectives' views over sound share."""

from __future__ import annotations

from typing import Any

from zoo.objectives import View


class SoundView(View):
    """A view that is :class:`zoo.protocols.Windowed` as its pipeline is. Waveforms are cropped but not varied
    otherwise: the objective is what varies them.

    Args:
        pipeline: an :class:`zoo_audio.pipeline.AudioPipeline`.
        seed: of the run.
    """

    def __init__(self, pipeline: Any, seed: int) -> None:
        super().__init__(pipeline, seed)
        # Of its own: from Python 3.12 on, protocols do not see what __getattr__ finds.
        self.rate, self.window, self.longest = pipeline.rate, pipeline.window, pipeline.longest
