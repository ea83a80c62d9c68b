"""Data sets of sound. Imports no torch."""

from __future__ import annotations

from zoo_registry.specs import DatasetSpec

DATASETS: tuple[DatasetSpec, ...] = (
    DatasetSpec(
        name="spoken_digits",
        modality="audio",
        task="classification",
        sources=("hf:mteb/free-spoken-digit-dataset",),
        columns={"input": "audio", "label": "label"},
        sample="zoo_audio.sample_digits:write_spoken_digits",
        classes=10,
        license="cc-by-sa-4.0",
        homepage="https://github.com/Jakobovski/free-spoken-digit-dataset",
        summary="3,000 recordings of zero to nine by six speakers, 8 kHz (Free Spoken Digit Dataset).",
    ),
    DatasetSpec(
        name="speech_commands",
        modality="audio",
        task="classification",
        sources=("hf:google/speech_commands/v0.02",),
        columns={"input": "audio", "label": "label"},
        classes=36,
        license="cc-by-4.0",
        homepage="https://arxiv.org/abs/1804.03209",
        summary="105,000 single words of one second, 16 kHz (Warden 2018, version 2).",
    ),
    DatasetSpec(
        name="esc50",
        modality="audio",
        task="classification",
        sources=("hf:ashraq/esc50",),
        columns={"input": "audio", "label": "category"},
        classes=50,
        license="cc-by-nc-3.0",
        homepage="https://github.com/karolpiczak/ESC-50",
        summary="2,000 sounds of five seconds from animals, water, people, houses and streets (Piczak 2015).",
    ),
    DatasetSpec(
        name="librispeech",
        modality="audio",
        task="transcription",
        sources=("hf:openslr/librispeech_asr/clean",),
        columns={"input": "audio", "label": "text"},
        license="cc-by-4.0",
        homepage="https://www.openslr.org/12",
        summary="460 hours of English read aloud, with transcripts: the clean part (Panayotov et al. 2015).",
    ),
)
