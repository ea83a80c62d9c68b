"""Pictures, recordings and shards for the tests here, and how they are read."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from zoo.data.dataset import DataSet
from zoo.data.pairs import load_pairs
from zoo.pairs import PairPipeline
from zoo_audio.pipeline import AudioPipeline
from zoo_registry.registry import build_registry
from zoo_registry.specs import InputSpec
from zoo_text.pipeline import TextPipeline
from zoo_vision.pipeline import ImagePipeline

RATE = 2000
WORDS = ("cat", "dog", "mat", "film")


def png(number: int, side: int = 20) -> bytes:
    """The bytes of a picture that no other number has."""
    file = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 255, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def caption(number: int) -> str:
    return f"the {WORDS[number % len(WORDS)]} number {number}"


def pictures(folder: Path, count: int, first: int = 0) -> list[str]:
    """Write pictures; their names."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        (folder / f"{number:03d}.png").write_bytes(png(number))
    return [f"{number:03d}.png" for number in range(first, first + count)]


def recording(path: Path, seconds: float, number: int = 0) -> None:
    samples = np.random.default_rng(number).normal(0, 0.1, round(seconds * RATE))
    soundfile.write(path, samples, RATE, subtype="PCM_16")


def shard(path: Path, files: Iterable[tuple[str, bytes]]) -> Path:
    """A tar archive of named files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def samples(count: int, first: int = 0) -> list[tuple[str, bytes]]:
    """The files of samples with a caption as text, every third as JSON."""
    files = []
    for number in range(first, first + count):
        files.append((f"{number:04d}.png", png(number)))
        if number % 3 == 2:
            files.append((f"{number:04d}.json", json.dumps({"caption": caption(number), "id": number}).encode()))
        else:
            files.append((f"{number:04d}.txt", caption(number).encode()))
    return files


def read(data: Path | str, modality: str = "image-text", **settings: Any) -> DataSet:
    return load_pairs(str(data), registry=build_registry(plugins=[], autoload=False), modality=modality, **settings)


def texts(dataset: DataSet, split: str) -> list[str]:
    """The second sides of a split."""
    return [pair[1] for pair in dataset.splits[split].columns["input"]]


def image_side() -> ImagePipeline:
    return ImagePipeline(InputSpec(modality="image", size=(3, 16, 16), mean=(0.5,) * 3, std=(0.2,) * 3))


def text_side(folder: Path) -> TextPipeline:
    from text_toys import write_tokenizer

    return TextPipeline(InputSpec(modality="text", size=(12,), assets=str(write_tokenizer(folder))))


def audio_side(seconds: float = 0.5) -> AudioPipeline:
    return AudioPipeline(InputSpec(modality="audio", rate=RATE, seconds=seconds))


def image_text(folder: Path) -> PairPipeline:
    return PairPipeline(image_side(), text_side(folder))
