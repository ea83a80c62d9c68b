"""From a sound file to the tensors a network hears, and what a head that needs whole recordings makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sound_batches import RATE, batch_of, floats, sounds_of, spec

from zoo.data.dataset import Table
from zoo.data.draws import HashDraws
from zoo.data.store import build_store
from zoo.protocols import Windowed
from zoo.sounds import spec_from
from zoo_audio.pipeline import audio_pipeline
from zoo_audio.views import own_tempo, whole_clips
from zoo_registry.errors import DataError, PluginError
from zoo_registry.specs import InputSpec


def test_files_become_int16_at_the_models_rate(tmp_path: Path) -> None:
    (sound,) = sounds_of((RATE,))
    soundfile.write(tmp_path / "a.wav", sound, RATE)
    pipeline = audio_pipeline(spec())
    assert np.array_equal(pipeline.decode(str(tmp_path / "a.wav")), sound)
    twice = audio_pipeline(spec(rate=2 * RATE)).decode(str(tmp_path / "a.wav"))
    assert twice.dtype == np.int16
    assert len(twice) == 2 * RATE
    with pytest.raises(DataError, match=r"none\.wav"):
        pipeline.decode(str(tmp_path / "none.wav"))


def test_prepare_scales_and_silences_padding() -> None:
    sounds = sounds_of((500, 200))
    batch = batch_of(sounds, width=600)
    batch["waveform"][1, 200:] = 99  # whatever stands there
    found = audio_pipeline(spec()).prepare(batch)
    assert found["waveform"].dtype == torch.float32
    assert found["length"].tolist() == [500, 200]
    for row, sound in enumerate(sounds):
        assert torch.equal(found["waveform"][row, : len(sound)], floats(sound))
        assert not found["waveform"][row, len(sound) :].any()
    assert found["waveform"].abs().max() <= 1
    assert torch.equal(found["label"], batch["label"])
    assert batch["waveform"].dtype == torch.int16


def test_caches_are_shared_by_contracts_that_decode_alike() -> None:
    assert audio_pipeline(spec(1.0)).key == audio_pipeline(spec(2.0)).key == whole_clips(audio_pipeline(spec(1.0))).key
    assert audio_pipeline(spec()).key != audio_pipeline(spec(rate=16000)).key


def test_windows_are_in_samples_and_whole_clips_have_none() -> None:
    pipeline = audio_pipeline(spec(1.5))
    assert isinstance(pipeline, Windowed)
    assert (pipeline.rate, pipeline.window, pipeline.longest) == (RATE, 12000, 0)
    whole = whole_clips(pipeline)
    assert (whole.window, whole.longest) == (0, 12000)
    assert spec_from(whole.describe()).seconds == 0
    assert spec_from(pipeline.describe()) == spec(1.5)


def test_own_tempo_keeps_lengths_and_windows() -> None:
    batch = batch_of(sounds_of((500, 200)))
    draws = HashDraws(0, 0, batch["index"])
    pipeline = audio_pipeline(spec(1.0))
    steady = own_tempo(pipeline)
    assert (steady.window, steady.longest, steady.key) == (RATE, 0, pipeline.key)
    assert steady.augment(batch, draws)["length"].tolist() == [500, 200]
    assert pipeline.augment(batch, draws)["length"].tolist() != [500, 200]
    assert not torch.equal(steady.augment(batch, draws)["waveform"], steady.prepare(batch)["waveform"])


@pytest.mark.parametrize(
    "wrong", [InputSpec(modality="audio"), InputSpec(modality="text", size=(9,)), spec(seconds=-1.0), spec(rate=-8)]
)
def test_a_contract_that_is_none_is_the_plugins_fault(wrong: InputSpec) -> None:
    with pytest.raises(PluginError):
        audio_pipeline(wrong)


def test_bad_files_are_counted_and_left_out(tmp_path: Path) -> None:
    items = []
    for number, sound in enumerate(sounds_of((RATE, 300, 4000))):
        items.append(str(tmp_path / f"{number}.flac"))
        soundfile.write(items[-1], sound, RATE)
    (tmp_path / "text.wav").write_text("no sound at all")
    (tmp_path / "empty.wav").write_bytes(b"")
    items[1:1] = [str(tmp_path / "text.wav"), str(tmp_path / "empty.wav")]
    for limit in (None, 0):
        said: list[str] = []
        table = Table({"input": items})
        store = build_store(table, audio_pipeline(spec()), cache_limit=limit, max_bad=0.5, say=said.append)
        assert store.kept.tolist() == [0, 3, 4]
        assert np.asarray(store.lengths).tolist() == [RATE, 300, 4000]
        assert [what for what, _ in store.bad] == items[1:3]
        assert any("skipped 2 of 5" in line for line in said)
