from __future__ import annotations

import json
from pathlib import Path

import pytest
from audio_data.tones import Write, tone

from zoo.cli.main import run


@pytest.fixture
def manifest(write: Write, tmp_path: Path) -> Path:
    rows = ["path,transcript"]
    for i in range(10):
        name = write(f"{i}.wav", tone(0.1 * (i + 1), 16000, pitch=200 + 20 * i), 16000).name
        rows.append(f"{name},{'one two' if i % 2 else 'one'}")
    (tmp_path / "junk.wav").write_text("junk")
    (tmp_path / "t.csv").write_text("\n".join([*rows, "junk.wav,one"]))
    return tmp_path / "t.csv"


def test_show_transcripts(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "show", str(manifest), "--json", "--val-fraction", "0.01"]) == 0
    found = json.loads(capsys.readouterr().out)
    train = found["splits"]["train"]
    assert (found["task"], found["modality"], found["labels"]) == ("transcription", "audio", [" ", *"enotw"])
    assert train["seconds"]["total"] == pytest.approx(5.5 - found["splits"]["val"]["seconds"]["total"], abs=1e-3)
    assert sum(one["sound"]["rates"].get("16000", 0) for one in found["splits"].values()) == 10
    assert train["transcripts"]["characters"]["o"] >= 13
    assert sum(one["sound"]["unreadable"] for one in found["splits"].values()) == 1
    assert run(["data", "show", str(manifest), "--units", "7"]) == 0
    shown = capsys.readouterr()
    assert "t: transcription of audio data" in shown.out
    assert "16000 Hz, 1 channel" in shown.out
    assert "words, 6 characters" in shown.out
    assert "spelled in 7 pieces of words" in shown.err


def test_show_classes_and_events(write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = ["path,start,end,label,split"]
    for i in range(6):
        write(f"{i}.wav", tone(1.0, pitch=200 + 20 * i))
        rows.append(f"{i}.wav,0.25,0.5,{'ab'[i % 2]},{'train' if i < 4 else 'val'}")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    assert run(["data", "show", str(tmp_path / "t.csv")]) == 0
    shown = capsys.readouterr().out
    assert f"{tmp_path / '0.wav'} from 0.25 s to 0.5 s  ->  a" in shown
    assert "0.25..0.25, median 0.25, 1.0 s in all" in shown
    assert run(["data", "show", str(tmp_path / "t.csv"), "--task", "frame-classification"]) == 0
    shown = capsys.readouterr().out
    assert "0.wav  ->  a 0.25-0.5 s" in shown
    assert "4.0 s in all" in shown
    assert "none" not in shown
