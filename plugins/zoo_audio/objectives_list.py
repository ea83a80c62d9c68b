"""The audio plugin's pretraining objectives. Imports no torch."""

from __future__ import annotations

from zoo_registry.specs import ObjectiveSpec

OBJECTIVES = (
    ObjectiveSpec(
        name="wav2vec2",
        builder="zoo_audio.objectives.wav2vec2:build_wav2vec2",
        view="zoo_audio.objectives.spans:keyed_view",
        modalities=("audio",),
        needs=("Maskable",),
        requires=("torchaudio", "soundfile"),
        extra="audio",
        summary="Tell a hidden frame's quantised features from those of others (wav2vec 2.0).",
        options={
            "start": 0.065,
            "span": 10,
            "distractors": 100,
            "groups": 2,
            "entries": 0,
            "scale": 0.1,
            "diversity": 0.1,
            "hottest": 2.0,
            "coldest": 0.5,
        },
    ),
    ObjectiveSpec(
        name="hubert",
        builder="zoo_audio.objectives.hubert:build_hubert",
        view="zoo_audio.objectives.spans:keyed_view",
        modalities=("audio",),
        needs=("Maskable", "Frames"),
        requires=("torchaudio", "soundfile"),
        extra="audio",
        summary="Guess the MFCC cluster of hidden frames (HuBERT, its first iteration).",
        options={"start": 0.08, "span": 10, "clusters": 100, "frames": 50_000, "unmasked": 0.0, "scale": 0.1},
    ),
    ObjectiveSpec(
        name="mask_spectrogram",
        builder="zoo_audio.objectives.mask_spectrogram:build_mask_spectrogram",
        view="zoo_audio.objectives.spans:keyed_view",
        modalities=("audio",),
        needs=("Maskable", "Frames"),
        requires=("torchaudio", "soundfile"),
        extra="audio",
        summary="Rebuild hidden frames of a log-mel spectrogram (Audio-MAE).",
        options={"start": 0.1, "span": 10, "mels": 80},
    ),
    ObjectiveSpec(
        name="wavenet",
        builder="zoo_audio.objectives.wavenet:build_wavenet",
        view="zoo_audio.objectives.wavenet:wavenet_view",
        modalities=("audio",),
        needs=("Autoregressive",),
        requires=("torchaudio", "soundfile"),
        extra="audio",
        summary="Guess each sample of sound from those before it, as one of 256 codes (WaveNet).",
    ),
)
