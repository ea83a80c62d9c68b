"""The audio plugin's heads. Imports no torch."""

from __future__ import annotations

from zoo_registry.specs import HeadSpec

HEADS: tuple[HeadSpec, ...] = (
    HeadSpec(
        name="ctc",
        builder="zoo_audio.ctc_head:CtcHead",
        task="transcription",
        modalities=("audio",),
        uses=("tokens",),
        view="zoo_audio.views:whole_clips",
        summary="Speech to text: a unit or a blank for each frame, by connectionist temporal classification.",
    ),
    HeadSpec(
        name="frame-classification",
        builder="zoo_audio.frame_head:FrameHead",
        task="frame-classification",
        modalities=("audio",),
        uses=("tokens",),
        view="zoo_audio.views:own_tempo",
        summary="A class for each frame: what is heard when.",
    ),
    HeadSpec(
        name="speaker-verification",
        builder="zoo_audio.speaker_head:SpeakerHead",
        task="speaker-verification",
        modalities=("audio",),
        uses=("pooled",),
        view="zoo_audio.views:own_tempo",
        summary="Unit vectors of voices, learnt by additive-margin softmax: one speaker's lie together.",
    ),
    HeadSpec(
        name="layers-classification",
        builder="zoo_audio.layer_sum:LayersClassificationHead",
        task="classification",
        modalities=("audio",),
        uses=("layers",),
        summary="A linear layer on a learned mixture of all layers, cross entropy.",
    ),
    HeadSpec(
        name="layers-multi-label",
        builder="zoo_audio.layer_sum:LayersMultiLabelHead",
        task="multi-label",
        modalities=("audio",),
        uses=("layers",),
        summary="A linear layer on a learned mixture of all layers, one yes or no a class.",
    ),
    HeadSpec(
        name="layers-regression",
        builder="zoo_audio.layer_sum:LayersRegressionHead",
        task="regression",
        modalities=("audio",),
        uses=("layers",),
        summary="A linear layer on a learned mixture of all layers, squared error in units of the targets' spread.",
    ),
)
