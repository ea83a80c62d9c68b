from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from audio_data.tones import Write, tone

from zoo.sinc import resample
from zoo.sounds import describe_input, open_sound, quality, spec_from
from zoo_registry.errors import DataError, PluginError
from zoo_registry.specs import InputSpec


def refused(item: Any, rate: int = 8000) -> str:
    with pytest.raises(DataError) as caught:
        open_sound(item, rate)
    assert caught.value.exit_code == 6
    assert caught.value.remedy
    return caught.value.problem


def to_int16(samples: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)


# What must work


def test_sixteen_bits_come_back_as_they_are(write: Write) -> None:
    values = np.random.default_rng(0).integers(-32768, 32768, 5000).astype(np.int16)
    found = open_sound(str(write("a.wav", values)), 8000)
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, values)


def test_eight_channels_are_averaged(write: Write) -> None:
    channels = np.random.default_rng(0).uniform(-0.5, 0.5, (4000, 8))
    found = open_sound(write("a.wav", channels, subtype="FLOAT"), 8000)
    np.testing.assert_allclose(found, to_int16(channels.mean(axis=1)), atol=1)


def test_studio_quality_is_resampled(write: Write) -> None:
    samples = tone(1.0, 96000, 440)
    found = open_sound(write("a.wav", np.stack([samples] * 2, 1), 96000, subtype="PCM_24"), 16000)
    assert len(found) == 16000
    np.testing.assert_allclose(found[100:-100], to_int16(tone(1.0, 16000, 440))[100:-100], atol=40)


@pytest.mark.parametrize("subtype", ["PCM_U8", "ULAW", "ALAW", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_every_kind_of_wav(write: Write, subtype: str) -> None:
    found = open_sound(write("a.wav", subtype=subtype), 8000)
    np.testing.assert_allclose(found[:4000], to_int16(tone()), atol=700 if subtype in ("ULAW", "ALAW") else 300)


def test_floats_beyond_full_scale_are_clipped(write: Write) -> None:
    found = open_sound(write("a.wav", np.array([0.0, 3.0, -5.0, 0.5]), subtype="FLOAT"), 8000)
    assert found.tolist() == [0, 32767, -32768, 16384]


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.flac", {}), ("a.ogg", {}), ("a.mp3", {}), ("a.opus", {"format": "OGG", "subtype": "OPUS"})],
)
def test_compressed_files(write: Write, name: str, options: dict[str, Any]) -> None:
    found = open_sound(write(name, tone(1.0, 16000), 16000, **options), 16000)
    assert abs(len(found) - 16000) < 1200
    middle = found[4000:12000].astype(float)
    assert np.abs(middle).max() == pytest.approx(16384, rel=0.1)
    assert np.argmax(np.abs(np.fft.rfft(middle))) == round(440 * 8000 / 16000)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_a_stretch_is_what_it_is_in_the_whole(write: Write, name: str) -> None:
    path = write(name, np.random.default_rng(0).uniform(-0.5, 0.5, 32000), 16000)
    whole = open_sound(path, 16000)
    found = open_sound({"path": str(path), "start": 0.5, "end": 1.25}, 16000)
    np.testing.assert_allclose(found, whole[8000:20000], atol=2)
    np.testing.assert_allclose(open_sound({"path": str(path), "start": 1.5}, 16000), whole[24000:], atol=2)


def test_a_stretch_may_end_a_little_late(write: Write) -> None:
    path = write("a.wav")
    assert len(open_sound({"path": str(path), "start": 0.25, "end": 0.6}, 8000)) == 2000


def test_bytes_and_arrays(write: Write) -> None:
    path = write("a.wav", np.stack([tone(), -tone() / 2], 1), subtype="FLOAT")
    from_file = open_sound(path, 8000)
    np.testing.assert_array_equal(open_sound(path.read_bytes(), 8000), from_file)
    np.testing.assert_array_equal(open_sound({"bytes": path.read_bytes(), "path": "x"}, 8000), from_file)
    array = np.stack([tone(), -tone() / 2]).astype(np.float32)
    np.testing.assert_array_equal(open_sound({"array": array, "sampling_rate": 8000}, 8000), from_file)
    cut = open_sound({"array": array, "sampling_rate": 8000, "start": 0.25, "end": 0.375}, 8000)
    np.testing.assert_array_equal(cut, from_file[2000:3000])
    values = np.array([0, 1, -32768, 32767], np.int16)
    np.testing.assert_array_equal(open_sound({"array": values, "sampling_rate": 8000}, 8000), values)


def test_streamed_resampling_is_that_of_the_whole(write: Write) -> None:
    samples = np.random.default_rng(0).uniform(-0.9, 0.9, (200_000, 2)).astype(np.float32)
    path = write("a.wav", samples, 44100, subtype="FLOAT")
    whole = resample(samples.mean(axis=1), 44100, 16000)
    np.testing.assert_array_equal(open_sound(path, 16000), to_int16(whole))


def test_a_long_file_takes_the_memory_of_its_result(write: Write) -> None:
    path = write("a.flac", np.zeros((44100 * 240, 2), np.int16), 44100)
    tracemalloc.start()
    try:
        found = open_sound(path, 16000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found) == 16000 * 240
    assert peak < 1.3 * found.nbytes + 4e6  # all its samples as floats would be 85 MB


# What must be refused by name


def test_nothing_to_read(write: Write, tmp_path: Path) -> None:
    assert f"{tmp_path / 'no.wav'} does not exist" in refused(tmp_path / "no.wav")
    assert "is a folder" in refused(tmp_path)
    (tmp_path / "empty.wav").touch()
    assert "empty.wav is empty (0 bytes)" in refused(tmp_path / "empty.wav")
    assert "none.wav holds no samples" in refused(write("none.wav", np.empty(0)))
    assert "0 bytes" in refused(b"")
    assert "does not exist" in refused("a\0b.wav")
    assert "type int is no sound" in refused(3)


def test_a_text_named_wav(tmp_path: Path) -> None:
    (tmp_path / "t.wav").write_text("these are words\n" * 100)
    assert "t.wav is no sound file that can be read (Format not recognised)" in refused(tmp_path / "t.wav")
    assert "bytes (1,600 bytes) is no sound" in refused((tmp_path / "t.wav").read_bytes())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers(write: Write, value: float) -> None:
    samples = np.zeros((3000, 2), np.float32)
    samples[2000, 1] = value
    assert "a.wav holds samples that are no finite numbers" in refused(write("a.wav", samples, subtype="FLOAT"))
    assert "no finite numbers" in refused({"array": samples.T, "sampling_rate": 8000})


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.aiff", "a.au", "a.opus"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_files_that_end_early(write: Write, tmp_path: Path, name: str, share: float) -> None:
    options = {"format": "OGG", "subtype": "OPUS"} if name == "a.opus" else {}
    whole = write(name, np.random.default_rng(0).uniform(-0.5, 0.5, 48000), 16000, **options).read_bytes()
    path = tmp_path / f"cut{Path(name).suffix}"
    path.write_bytes(whole[: int(share * len(whole))])
    said = refused(path, 16000)
    assert str(path) in said
    assert any(words in said for words in ("cut off", "can be read"))


def test_a_stretch_before_the_cut_is_sound(write: Write, tmp_path: Path) -> None:
    whole = write("a.wav", tone(2.0))
    (tmp_path / "cut.wav").write_bytes(whole.read_bytes()[:17000])
    item = {"path": str(tmp_path / "cut.wav"), "start": 0.25, "end": 0.5}
    np.testing.assert_array_equal(open_sound(item, 8000), open_sound(whole, 8000)[2000:4000])
    assert "is cut off: its header promises 32,000 bytes" in refused({**item, "end": 1.5})
    assert "is cut off" in refused({**item, "start": 1.2, "end": None})


def test_headers_of_a_pipe_promise_nothing(write: Write) -> None:
    path = write("a.wav")
    before = open_sound(path, 8000)
    data = bytearray(path.read_bytes())
    at = data.find(b"data")
    data[4:8] = data[at + 4 : at + 8] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(data)
    np.testing.assert_array_equal(open_sound(path, 8000), before)


def test_stretches_that_are_not_there(write: Write) -> None:
    path = str(write("a.wav"))
    assert f"from 0.5 s of {path} begins after its end: it is 0.50 s long" in refused({"path": path, "start": 0.5})
    assert "ends after it" in refused({"path": path, "end": 1.5})
    assert "ends at 0.2 s, not after its start at 0.3 s" in refused({"path": path, "start": 0.3, "end": 0.2})
    assert "ends at 0 s, not after" in refused({"path": path, "end": 0})
    for value in (-1, float("nan"), "soon"):
        assert "is no time in it" in refused({"path": path, "start": value})


def test_arrays_that_are_no_sound() -> None:
    assert "sampling rate None" in refused({"array": tone()})
    assert "sampling rate 0" in refused({"array": tone(), "sampling_rate": 0})
    assert "4,000 channels" in refused({"array": tone()[:, None], "sampling_rate": 8000})
    assert "no samples" in refused({"array": np.empty(0), "sampling_rate": 8000})
    assert "shape (1, 1, 1)" in refused({"array": np.zeros((1, 1, 1)), "sampling_rate": 8000})


# What is said of a clip, and of the contract


def test_quality() -> None:
    assert quality(np.zeros(100, np.int16)) == ("silent",)
    assert quality(np.array([8, -8], np.int16)) == ("silent",)
    assert quality(np.array([9, 0], np.int16)) == ()
    loud = to_int16(tone(level=0.99))
    assert quality(loud) == ()
    assert quality(to_int16(tone(level=2.0))) == ("clipped",)
    assert quality(to_int16(np.minimum(tone(level=2.0), 0.5))) == ("clipped",)  # on one side
    loud[:3] = 32767  # peaks may touch the end of the range
    assert quality(loud) == ()


def test_the_contract_survives_json() -> None:
    spec = InputSpec(modality="audio", rate=16000, seconds=2.5)
    assert describe_input(spec) == {"kind": "audio", "version": 1, "rate": 16000, "seconds": 2.5}
    assert spec_from(describe_input(spec)) == spec
    with pytest.raises(DataError, match="kind 'audio' version 2"):
        spec_from({**describe_input(spec), "version": 2})
    with pytest.raises(DataError, match="not complete"):
        spec_from({"kind": "audio"})
    with pytest.raises(PluginError, match="rate is 0"):
        spec_from({**describe_input(spec), "rate": 0})


def test_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, zoo.sounds; sys.exit(any(n in sys.modules for n in ('torch', 'torchaudio', 'soundfile')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_missing_package_is_named(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from zoo_registry.errors import MissingDependency

    path = write("a.wav")
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(MissingDependency, match="soundfile") as caught:
        open_sound(path, 8000)
    assert "zookit[audio]" in caught.value.remedy
    assert soundfile.__version__
