"""The words said by formulas: reproducible, written whole or not at all, and learnable from other words of a voice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from zoo import default_registry
from zoo.data.sources import load_dataset
from zoo.sounds import open_sound, quality
from zoo_audio import sample_digits
from zoo_audio.sample_digits import VOICES, WORDS, say_digit, write_spoken_digits
from zoo_registry.errors import DataError


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_digits, "SPLITS", {"train": 2, "val": 1})


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_word_is_a_function_of_its_arguments() -> None:
    first = say_digit(3, "ada", (1, 2))
    np.testing.assert_array_equal(first, say_digit(3, "ada", (1, 2)))
    others = [say_digit(3, "ada", (1, 3)), say_digit(4, "ada", (1, 2)), say_digit(3, "bo", (1, 2))]
    assert not any(np.array_equal(first, other) for other in others)
    assert first.dtype == np.int16


def test_words_sound_like_words() -> None:
    words = [say_digit(digit, voice, (digit, i)) for digit in range(10) for i, voice in enumerate(VOICES)]
    seconds = np.array(list(map(len, words))) / 8000
    assert seconds.min() > 0.2
    assert seconds.max() < 1.2
    assert not any(quality(word) for word in words)
    assert np.std([np.abs(word).max() for word in words]) > 2000  # they are not all equally loud


def test_low_voices_are_low() -> None:
    def pitch(voice: str) -> float:
        """By the strongest echo of the second half of "two", which is a vowel."""
        found = []
        for i in range(8):
            word = say_digit(2, voice, (i,)).astype(float)
            vowel = word[len(word) // 2 - 400 : len(word) // 2 + 400]
            echo = np.correlate(vowel, vowel, "full")[len(vowel) - 1 :]
            found.append(8000 / (25 + np.argmax(echo[25:110])))
        return float(np.median(found))

    assert pitch("cy") == pytest.approx(VOICES["cy"].pitch, rel=0.15)
    assert pitch("dee") == pytest.approx(VOICES["dee"].pitch, rel=0.15)


def test_the_sample_is_learnable_but_not_by_loudness() -> None:
    def features(word: np.ndarray) -> np.ndarray:
        """(6, 20) log spectrum of six stretches."""
        frames = np.lib.stride_tricks.sliding_window_view(word / 32768, 256)[::80] * np.hanning(256)
        power = np.abs(np.fft.rfft(frames))[:, 2:122].reshape(len(frames), 20, 6).mean(axis=2)
        return np.stack([np.log(part.mean(axis=0) + 1e-4) for part in np.array_split(power, 6)])

    words = {
        split: [(digit, features(say_digit(digit, voice, (split, digit, i, n))))
                for digit in range(10) for i, voice in enumerate(VOICES) for n in range(count)]
        for split, count in ((0, 4), (1, 2))
    }  # fmt: skip

    def score(reduce: Callable[[np.ndarray], np.ndarray]) -> float:
        """Of a ridge regression on one-hot digits."""
        train, val = (np.stack([np.append(reduce(one).ravel(), 1.0) for _, one in words[split]]) for split in (0, 1))
        truth = [np.array([digit for digit, _ in words[split]]) for split in (0, 1)]
        weights = np.linalg.solve(train.T @ train + np.eye(train.shape[1]), train.T @ np.eye(10)[truth[0]])
        return float(((val @ weights).argmax(axis=1) == truth[1]).mean())

    assert score(lambda spectrum: spectrum) > 0.85
    assert score(lambda spectrum: spectrum.mean(axis=1)) < 0.6


@pytest.mark.usefixtures("few")
def test_written_whole_and_the_same_each_time(tmp_path: Path) -> None:
    write_spoken_digits(tmp_path / "a")
    write_spoken_digits(tmp_path / "b")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert len(tree(tmp_path / "a")) == len(WORDS) * len(VOICES) * 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    item = tmp_path / "a" / "val" / "7" / "7_fay_0.wav"
    np.testing.assert_array_equal(open_sound(item, 8000), say_digit(7, "fay", (1, 7, 5, 0)))
    with pytest.raises(DataError, match="exists already"):
        write_spoken_digits(tmp_path / "a")


@pytest.mark.usefixtures("few")
def test_a_sample_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(sample_digits, "say_digit", fail)
    with pytest.raises(DataError, match="disk full"):
        write_spoken_digits(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("few")
def test_it_stands_in_for_the_real_data_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    dataset = load_dataset("spoken_digits", registry=default_registry(), modality="audio")
    assert dataset.sample
    assert dataset.labels == tuple("0123456789")
    assert {split: len(table) for split, table in dataset.splits.items()} == {"train": 120, "val": 60}
    said = capsys.readouterr().err
    assert "built-in sample of spoken_digits" in said
    assert "generated audio data stands in for the real spoken_digits" in said
    with pytest.raises(DataError, match="spoken_digits is not on this machine"):
        load_dataset("spoken_digits", registry=default_registry(), modality="audio", allow_sample=False)
