from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audio_data.tones import Write, tone

from zoo.data.dataset import Table
from zoo.data.hearing import quality_notes
from zoo.data.store import build_store
from zoo.paths import cache_dir
from zoo.protocols import RAGGED, Batch, Draws
from zoo.sounds import open_sound


class Sounds:
    modality, input_name, key = "audio", "waveform", "sounds-1"
    shape: tuple[int, ...] = (RAGGED,)
    dtype: np.dtype[Any] = np.dtype(np.int16)
    decoded = 0

    def decode(self, item: Any) -> np.ndarray:
        self.decoded += 1
        return open_sound(item, 8000)

    def augment(self, batch: Batch, draws: Draws) -> Batch:
        return batch

    def prepare(self, batch: Batch) -> Batch:
        return batch

    def describe(self) -> dict[str, Any]:
        return {}


@pytest.fixture
def table(write: Write) -> Table:
    sounds = [tone(), np.zeros(800), tone(level=3.0), tone(level=3.0), tone(0.1)]
    return Table({"input": [str(write(f"{i}.wav", sound, subtype="FLOAT")) for i, sound in enumerate(sounds)]})


def test_silent_and_clipped_clips_are_kept_and_counted(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    store = build_store(table, Sounds())
    assert len(store) == 5
    expected = ["train: 1 of 5 clips is silent", "train: 2 of 5 clips are clipped"]
    assert quality_notes(store, "train") == expected
    again = build_store(table, Sounds())
    monkeypatch.setattr("zoo.data.hearing.quality", lambda samples: pytest.fail("they were heard before"))
    assert quality_notes(again, "train") == expected


def test_counts_that_cannot_be_read_are_made_again(table: Table) -> None:
    store = build_store(table, Sounds())
    expected = quality_notes(store, "val")
    record = next(Path(cache_dir() / "decoded").glob("*.quality.json"))
    for text in ("", "{}", "[]", '{"heard": 5, "counts": []}'):
        record.write_text(text)
        assert quality_notes(store, "val") == expected


def test_where_nothing_is_kept_some_are_heard(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.data.hearing._LOOK", 3)
    table = Table({"input": [str(write(f"{i}.wav", np.zeros(80) + i)) for i in (0, 1, 0, 1, 0)]})
    pipeline = Sounds()
    store = build_store(table, pipeline, cache_limit=0, say=lambda line: None)
    before = pipeline.decoded
    assert quality_notes(store, "train") == ["train: 3 of the 3 looked at of 5 clips are silent"]
    assert pipeline.decoded == before + 3


def test_nothing_to_say(write: Write) -> None:
    assert quality_notes(build_store(Table({"input": [str(write("a.wav"))]}), Sounds()), "train") == []
