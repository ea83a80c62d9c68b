"""Transcription, events and voices: runs and exports answer alike, also about recordings longer than a window."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from sound_runs import FILE_RATE, HEADS, HOP, LABELS, RATE, SECONDS, invoke, nearly, tone

import zoo
from zoo.exporting import ExportResult
from zoo.kinds import Outcome, kind_of
from zoo.kinds.transcription import faults
from zoo.measure import evaluate
from zoo.predicting import predict
from zoo.prepared import run_dataset
from zoo.run import open_run
from zoo.serve_audio import Parts, parts_for
from zoo.serve_model import OnnxModel
from zoo.torch_model import TorchModel
from zoo_registry.errors import UsageError

TASKS = tuple(HEADS)
Run = Callable[[str], tuple[Path, Path]]
Export = Callable[[str], ExportResult]


def recordings(folder: Path) -> list[Path]:
    """Short ones, and two that are several windows long, with pauses."""
    folder.mkdir(exist_ok=True)
    for i, seconds in enumerate((0.2, 0.6, 0.61, 3.0, 0.1)):
        sound = tone(LABELS[i % 3], i + 70, seconds)
        sound[2500:3200] *= 0.01
        soundfile.write(folder / f"clip{i}.wav", sound, FILE_RATE)
    return [folder / f"clip{i}.wav" for i in range(5)]


@pytest.mark.parametrize("task", TASKS)
def test_every_task_repeats_torch(task: str, speech_run: Run, speech_export: Export, tmp_path: Path) -> None:
    result = speech_export(task)
    assert result.parity.agreement == 1.0
    assert result.parity.max_logit_difference < 1e-3
    assert result.parity.score_torch == pytest.approx(result.parity.score_onnx, abs=1e-6)
    paths = recordings(tmp_path / "clips")
    by_torch, by_onnx = (predict(one, paths) for one in (speech_run(task)[0], result.path))
    assert nearly(by_torch, by_onnx)
    if task != "speaker-verification":
        assert all(row["label"] for row in by_onnx)  # a random head says a lot


@pytest.mark.parametrize("task", TASKS)
def test_evaluate(task: str, speech_run: Run, speech_export: Export) -> None:
    run, data = speech_run(task)
    one, other = evaluate(run), evaluate(speech_export(task).path, data, split="val")
    assert one["n"] == other["n"] > 1
    assert nearly(one["metrics"], other["metrics"])
    assert one["task"] == task


def test_the_graph_says_how_many_frames_are_real(speech_export: Export) -> None:
    result = speech_export("transcription")
    assert [one["name"] for one in result.meta["onnx_outputs"]] == ["logits", "scores", "frames"]
    assert result.meta["frame_seconds"] == HOP / RATE
    model = OnnxModel(result.path)
    arrays = [np.full(length, 900, np.int16) for length in (1, 31, 700, 2400)]
    feed = model.feed(arrays)
    logits, scores, frames = model.session.run(None, feed)
    assert frames.tolist() == [len(array) // HOP + 1 for array in arrays]
    for row, count in zip(logits, frames, strict=True):
        assert (row[count:, 0] == 0).all()
        assert (row[count:, 1:] == -1e4).all()
    np.testing.assert_allclose(scores.sum(axis=-1), 1, rtol=1e-5)
    card = (result.path / "MODEL_CARD.md").read_text()
    for text in ("A speech recogniser", "how many frames", "the blank, then", "cut in their pauses"):
        assert text in card
    assert len(model.predict([{"array": np.ones(50) / 9, "sampling_rate": RATE}])) == 1


@pytest.mark.parametrize("side", ["run", "export"])
def test_long_speech_is_cut_in_pauses_and_joined(
    side: str, speech_run: Run, speech_export: Export, tmp_path: Path
) -> None:
    run = speech_run("transcription")[0]
    model: Any = OnnxModel(speech_export("transcription").path) if side == "export" else TorchModel(run, device="cpu")
    array = model.decode(recordings(tmp_path / "clips")[3])
    parts = model.parts.of(array)
    assert len(parts) > 4
    (logits,), (scores,) = model.run([array])
    alone = [model.run([part]) for part in parts]
    space = 1 + model.labels.index(" ")
    kind = kind_of("transcription")
    texts = [kind.predictions(Outcome(one[1]), model.labels)[0]["label"] for one in alone]
    whole = kind.predictions(Outcome([scores]), model.labels)[0]["label"]
    # A random network may say the same unit at the very end of a part, which the count of frames can cut off.
    assert len(whole.split()) >= len(" ".join(texts).split()) - len(parts)
    seams = np.flatnonzero((logits[:, space] == 0) & (logits[:, 0] == -1e4))
    assert len(seams) == len(parts) - 1
    assert (scores[seams, space] == 1).all()
    assert len(logits) == sum(len(part) // HOP for part in parts[:-1]) + len(alone[-1][0][0]) + len(seams)


def test_a_pause_is_where_it_is_quiet() -> None:
    rng = np.random.default_rng(0)
    array = rng.integers(-9000, 9000, 4000).astype(np.int16)
    array[1850:1950] = 0
    parts = Parts(2000, 10**6, hop=10, seam=0)
    first, *_ = parts.of(array)
    assert 1850 <= len(first) <= 1950


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 700), st.integers(1, 50), st.integers(0, 9))
def test_parts_of_speech_are_the_recording(length: int, window: int, hop: int, seed: int) -> None:
    array = np.random.default_rng(seed).integers(-99, 99, length).astype(np.int16)
    parts = Parts(window, 10**6, hop=hop, seam=0).of(array)
    np.testing.assert_array_equal(np.concatenate(parts), array)
    if window >= hop:
        assert all(0 < len(part) <= window for part in parts)
        assert all(len(part) % hop == 0 for part in parts[:-1])
        assert len(parts) <= 1 + length // max(1, int(0.8 * window) - hop)
    else:
        assert len(parts) == 1  # no window holds a frame


def test_events_of_long_recordings_stand_at_their_times(speech_run: Run, tmp_path: Path) -> None:
    """Frames of overlapping windows, put together, are the plain mean over the windows that hold each."""
    model = TorchModel(speech_run("frame-classification")[0], device="cpu")
    array = model.decode(recordings(tmp_path / "clips")[3])
    window, total = round(SECONDS * RATE), 0
    (_,), (scores,) = model.run([array])
    sums: dict[int, list[np.ndarray]] = {}
    starts = [i * (len(array) - window) // (-(-len(array) // window) - 1) for i in range(-(-len(array) // window))]
    for start in starts:
        rows = model.run([array[start : start + window]])[1][0]
        for place, row in enumerate(rows):
            sums.setdefault(round(start / HOP) + place, []).append(row)
            total = max(total, round(start / HOP) + place + 1)
    wanted = [np.mean(sums[place], axis=0) for place in range(total)]
    np.testing.assert_allclose(scores, wanted, atol=1e-5)


def test_voices_are_unit_vectors(speech_export: Export, tmp_path: Path) -> None:
    model = OnnxModel(speech_export("speaker-verification").path)
    rows = model.predict(recordings(tmp_path / "clips"))
    vectors = np.array([row["vector"] for row in rows])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert rows[0]["score"] is None
    assert rows[1]["score"] == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-5)


def test_the_limit_of_speech_is_the_network_s() -> None:
    meta = {
        "task": "transcription",
        "labels": ["a", "▁"],
        "input": {"seconds": 2.0},
        "preprocessing": {"kind": "audio", "version": 1, "rate": 100, "seconds": 0.0},
    }
    parts = parts_for(meta, 0.02)
    assert (parts.window, parts.hop, parts.seam) == (200, 2, 0)
    assert parts_for({**meta, "labels": [" ", "a"]}, 0.02).seam == 1
    events = parts_for({**meta, "task": "frame-classification"}, 0.02)
    assert (events.window, events.hop, events.seam) == (0, 2, None)


def test_beam(speech_run: Run, speech_export: Export, tmp_path: Path) -> None:
    pytest.importorskip("flashlight.lib.text")
    paths = recordings(tmp_path / "clips")
    run = speech_run("transcription")[0]
    code, out, err = invoke("predict", run, *paths, "--beam", 4, "--json")
    assert code == 0, err
    rows = json.loads(out)
    assert [row["score"] for row in rows] == [None] * 5
    model = TorchModel(run, device="cpu")
    from zoo.beam import beam_texts

    wanted = beam_texts(model.run([model.decode(path) for path in paths])[0], model.labels, 4)
    assert [row["label"] for row in rows] == wanted
    with pytest.raises(UsageError, match="greedily"):
        predict(speech_export("transcription").path, paths, beam=4)


def test_a_beam_is_measured(speech_run: Run, speech_export: Export) -> None:
    pytest.importorskip("flashlight.lib.text")
    run, data = speech_run("transcription")
    found = evaluate(run, beam=8)
    val = run_dataset(open_run(run), "audio", zoo.default_registry()).splits["val"].columns
    texts = [row["label"] for row in predict(run, val["input"], beam=8)]
    wrong, true = np.array([faults(*pair)[2:4] for pair in zip(texts, val["label"], strict=True)]).sum(axis=0)
    assert found["metrics"]["cer"] == pytest.approx(wrong / true)
    assert found["metrics"] != evaluate(run)["metrics"]
    with pytest.raises(UsageError, match="decodes greedily"):
        evaluate(speech_export("transcription").path, data, split="val", beam=8)
    with pytest.raises(UsageError, match="has no beam search"):
        evaluate(speech_run("frame-classification")[0], beam=8)


@pytest.mark.parametrize("style", ["table", "csv", "jsonl"])
def test_output(style: str, speech_export: Export, tmp_path: Path) -> None:
    paths = recordings(tmp_path / "clips")
    for task in TASKS:
        code, out, err = invoke("predict", speech_export(task).path, *paths, "--format", style)
        assert code == 0, err
        assert str(paths[0]) in out
        assert style != "csv" or out.splitlines()[0] == "input,label,score"
    _, _, err = invoke("predict", speech_export("transcription").path, *paths)
    assert "2 of 5 recordings are longer than 0.6 s: they were cut in pauses, and the texts of the parts joined" in err


def test_no_torch_no_plugin(speech_export: Export, tmp_path: Path) -> None:
    recordings(tmp_path / "clips")
    code = (
        "import sys\n"
        "hidden = ('torch', 'torchaudio', 'zoo_audio', 'zoo_vision', 'timm', 'transformers', 'pandas', 'datasets')\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in hidden:\n"
        "            raise ModuleNotFoundError(f'{name} is hidden', name=name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
        "from zoo.cli.main import run\n"
        "sys.exit(max(run(one) for one in eval(sys.argv[1])))"
    )
    calls = [["predict", str(speech_export(task).path), str(tmp_path / "clips"), "--json"] for task in TASKS]
    done = subprocess.run(
        [sys.executable, "-c", code, repr(calls)], capture_output=True, text=True, env=dict(os.environ), check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"input"') == 5 * len(TASKS)
