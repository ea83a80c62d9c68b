"""Recordings of the hub become files, without a decoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from audio_data.tones import Write, tone

from zoo import default_registry
from zoo.data import sources
from zoo.data.sources import load_dataset
from zoo.paths import cache_dir

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def connected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "offline", lambda: False)
    monkeypatch.setattr(sources, "reachable", lambda url: True)


def test_the_real_library_reads_a_repository_of_recordings(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split, label, count in [("train", "yes", 4), ("train", "no", 4), ("test", "yes", 1), ("test", "no", 1)]:
        for number in range(count):
            write(f"org/words/{split}/{label}/{number}.wav", tone(0.1, pitch=200 + 30 * number + len(split + label)))
    monkeypatch.chdir(tmp_path)  # the library takes a folder of the repository's name for the repository
    dataset = load_dataset("hf:org/words", registry=default_registry(), modality="audio")
    assert dataset.labels == ("no", "yes")
    assert {split: len(table) for split, table in dataset.splits.items()} == {"train": 6, "val": 2, "test": 2}
    first = Path(dataset.splits["test"].columns["input"][0])
    assert first.is_relative_to(cache_dir() / "data" / "org--words")
    assert first.suffix == ".wav"
    assert first.read_bytes() == (tmp_path / "org" / "words" / "test" / "no" / "0.wav").read_bytes()


def test_librispeech_has_several_training_splits(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = write("a.flac").read_bytes()
    calls: list[tuple[Any, ...]] = []

    def part(text: str) -> Any:
        row = {"file": "a.flac", "audio": {"bytes": sound, "path": None}, "text": text, "speaker_id": 1}
        return datasets.Dataset.from_list([row] * 3).cast_column("audio", datasets.Audio(sampling_rate=16000))

    def load_hub(name: str, config: str | None, cache_dir: str) -> Any:
        calls.append((name, config))
        names = {"train.100": "ONE", "train.360": "TWO", "validation": "SIX", "test": "TEN"}
        return datasets.DatasetDict({split: part(text) for split, text in names.items()})

    monkeypatch.setattr(datasets, "load_dataset", load_hub)
    dataset = load_dataset("librispeech", registry=default_registry(), modality="audio")
    assert calls == [("openslr/librispeech_asr", "clean")]
    assert dataset.task == "transcription"
    assert dataset.splits["train"].columns["label"] == ["ONE"] * 3 + ["TWO"] * 3
    assert dataset.splits["val"].columns["label"] == ["SIX"] * 3
    path = Path(dataset.splits["val"].columns["input"][0])
    assert path.read_bytes() == sound
    assert path.suffix == ".flac"
