"""The input contract that follows from the recordings' headers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from zoo_audio.clip_lengths import NEAT, fit_rate_and_seconds, fit_seconds
from zoo_registry.errors import DataError
from zoo_registry.specs import InputSpec

INPUT = InputSpec(modality="audio", rate=16_000, seconds=10.0)


def write(folder: Path, seconds: Sequence[float], rate: int = 8000, kind: str = "wav") -> list[str]:
    folder.mkdir(exist_ok=True)
    paths = []
    for number, length in enumerate(seconds):
        path = folder / f"{rate}-{number}.{kind}"
        soundfile.write(path, np.zeros(round(length * rate), np.int16), rate)
        paths.append(str(path))
    return paths


@pytest.mark.parametrize(
    ("lengths", "window"), [([0.1, 0.3], 0.5), ([0.2] * 99 + [60.0], 0.5), ([0.9, 1.0], 1.0), ([1.01], 1.25)]
)
def test_nearly_all_fit_whole(lengths: list[float], window: float, tmp_path: Path) -> None:
    fitted = fit_seconds(INPUT, write(tmp_path, lengths))
    assert (fitted.seconds, fitted.rate) == (window, 16_000)
    assert fit_rate_and_seconds(INPUT, write(tmp_path, lengths)).seconds == window


def test_never_longer_than_the_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = write(tmp_path, [25.0, 0.5])
    assert fit_seconds(INPUT, paths).seconds == 10.0
    assert fit_seconds(InputSpec(modality="audio", rate=8000), paths).seconds == 30.0
    assert fit_seconds(InputSpec(modality="audio", rate=8000), write(tmp_path, [95.0], 8001)).seconds == NEAT[-1]
    capsys.readouterr()
    fit_rate_and_seconds(INPUT, paths)
    assert capsys.readouterr().err == "sound: windows of 10 s at 8,000 Hz, from clips of 0.5 to 25 s\n"


@pytest.mark.parametrize(("rates", "chosen"), [((8000,), 8000), ((8000, 11025), 11025), ((44100, 8000), 16000)])
def test_the_rate_of_the_recordings_where_it_is_lower(rates: Sequence[int], chosen: int, tmp_path: Path) -> None:
    paths = [path for rate in rates for path in write(tmp_path, [1.0, 1.2], rate)]
    assert fit_rate_and_seconds(INPUT, paths).rate == chosen
    assert fit_seconds(INPUT, paths).rate == 16_000


def test_below_telephone_is_telephone(tmp_path: Path) -> None:
    assert fit_rate_and_seconds(INPUT, write(tmp_path, [1.0], 4000)).rate == 8000


def test_every_form_of_an_item(tmp_path: Path) -> None:
    (path,) = write(tmp_path, [9.0], kind="flac")
    items = [
        Path(path).read_bytes(),
        {"path": path, "start": 1.0, "end": 4.0},
        {"path": path, "start": 7.0},
        {"path": path, "start": None, "end": None},
        {"array": np.zeros((2, 12_000), np.float32), "sampling_rate": 8000},
    ]
    for item, seconds in zip(items, (10.0, 3.0, 2.0, 10.0, 1.5), strict=True):
        assert fit_rate_and_seconds(INPUT, [item]).seconds == seconds


def test_what_cannot_be_read_is_left_to_decoding(tmp_path: Path) -> None:
    text = tmp_path / "text.wav"
    text.write_text("no sound")
    empty = tmp_path / "empty.wav"
    soundfile.write(empty, np.zeros(0, np.int16), 8000)
    bad = [str(text), str(empty), str(tmp_path / "gone.wav"), b"", {"path": str(text)}]
    assert fit_seconds(INPUT, [*bad, *write(tmp_path, [1.0])]).seconds == 1.0
    for nothing in ([], bad):
        with pytest.raises(DataError, match="can be read"):
            fit_seconds(INPUT, nothing)


def test_of_many_only_some_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short, long = write(tmp_path, [0.4, 2.9])
    monkeypatch.setattr("zoo_audio.clip_lengths.LOOKED_AT", 50)
    seen: list[str] = []
    info = soundfile.info
    monkeypatch.setattr(soundfile, "info", lambda path: seen.append(path) or info(path))
    assert fit_seconds(INPUT, [short] * 5000 + [long] * 5000).seconds == 3.0
    assert len(seen) == 50
    assert abs(seen.count(short) - 25) <= 1
