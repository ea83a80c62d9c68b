"""``zoo embed`` for sounds: averaged windows, order, resuming, stretches of files, bad clips."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from pyarrow import parquet
from sound_runs import DIM, FILE_RATE, LABELS, RATE, SECONDS, invoke, tone, write_table

import zoo
from zoo.embedding import embed
from zoo.embedding.model import open_embedder
from zoo.embedding.parts import Parts
from zoo.windowing import windows_of
from zoo_registry.errors import DataError, ZooError


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """Class folders of 12 clips of very different lengths."""
    for i in range(12):
        folder = tmp_path / "clips" / LABELS[i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        sound = tone(LABELS[i % 3], i, (0.1, 0.3, 0.6, 1.9, 0.7)[i % 5])
        soundfile.write(folder / f"clip{i}.wav", sound, FILE_RATE)
    return tmp_path / "clips"


def read(path: Path) -> tuple[dict[str, list[Any]], np.ndarray]:
    columns = parquet.read_table(path).to_pydict()
    return columns, np.array(columns.pop("embedding"), np.float32)


def slow_vectors(model: str | Path, paths: list[str]) -> np.ndarray:
    """Window by window, one at a time, then the mean."""
    embedder = open_embedder(str(model), registry=zoo.default_registry(), device="cpu")
    found = []
    for path in paths:
        windows = windows_of(embedder.pipeline.decode(path), round(SECONDS * RATE))
        parts = []
        for window in windows:
            batch = {"waveform": torch.tensor(window)[None], "length": torch.tensor([len(window)])}
            features = embedder.backbone(embedder.pipeline.prepare(batch), ("pooled",))
            one = features.pooled if embedder.head is None else embedder.head(features)
            parts.append(one[0].detach().numpy())
        mean = np.mean(parts, axis=0)
        found.append(mean if embedder.head is None else mean / np.linalg.norm(mean))
    return np.stack(found)


def test_the_pooled_features_of_a_run(sound_run: Callable[..., Path], collection: Path, tmp_path: Path) -> None:
    code, out, err = invoke("embed", sound_run(), "--data", collection, "-o", tmp_path / "o.parquet", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["n"], told["dim"], told["skipped"]) == (12, DIM, 0)
    columns, vectors = read(tmp_path / "o.parquet")
    assert columns["row"] == list(range(12))
    assert columns["label"] == [Path(path).parent.name for path in columns["input"]]
    np.testing.assert_allclose(vectors, slow_vectors(sound_run(), columns["input"]), atol=1e-5)
    about = json.loads(parquet.read_schema(tmp_path / "o.parquet").metadata[b"zoo"])
    assert about["vector"] == "pooled features"
    assert about["preprocessing"]["rate"] == RATE


def test_a_model_by_name(collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zoo.embedding import model

    random = model.load_backbone
    monkeypatch.setattr(model, "load_backbone", lambda name, weights, **more: random(name, weights="none", **more))
    embed("toys/listener", collection, tmp_path / "o.parquet", device="cpu")
    columns, vectors = read(tmp_path / "o.parquet")
    np.testing.assert_allclose(vectors, slow_vectors("toys/listener", columns["input"]), atol=1e-5)


def test_the_unit_vectors_of_voices(speech_run: Any, collection: Path, tmp_path: Path) -> None:
    run = speech_run("speaker-verification")[0]
    embed(run, collection, tmp_path / "o.parquet", device="cpu")
    columns, vectors = read(tmp_path / "o.parquet")
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors, slow_vectors(run, columns["input"]), atol=1e-5)
    about = json.loads(parquet.read_schema(tmp_path / "o.parquet").metadata[b"zoo"])
    assert about["vector"] == "speaker-verification head"


def test_stretches_of_a_table(sound_run: Callable[..., Path], tmp_path: Path) -> None:
    sound = tone("low", 3, 1.5)
    soundfile.write(tmp_path / "long.wav", sound, FILE_RATE)
    soundfile.write(tmp_path / "part.wav", sound[FILE_RATE // 2 : FILE_RATE], FILE_RATE, subtype="PCM_16")
    rows: list[dict[str, Any]] = [
        {"path": "long.wav", "start": 0.5, "end": 1.0, "label": "a"},
        {"path": "part.wav", "start": None, "end": None, "label": "b"},
        {"path": "long.wav", "start": None, "end": 0.4, "label": "c"},
        {"path": None, "start": 0.0, "end": 0.4, "label": "d"},
    ]
    data = write_table(tmp_path / "table.jsonl", rows)
    told = embed(sound_run(), data, tmp_path / "o.parquet", device="cpu", max_bad=0.5)
    assert told["skipped"] == 1
    columns, vectors = read(tmp_path / "o.parquet")
    assert columns["row"] == [0, 1, 2]
    assert columns["label"] == ["a", "b", "c"]
    long = tmp_path / "long.wav"
    assert columns["input"] == [f"{long} from 0.5 s to 1.0 s", str(tmp_path / "part.wav"), f"{long} from 0 s to 0.4 s"]
    # Resampling hears a little over the edges of a stretch, or nothing.
    assert np.abs(vectors[0] - vectors[1]).max() < 0.1
    assert np.abs(vectors[0] - vectors[2]).max() > 0.1


def test_bad_clips_are_counted(sound_run: Callable[..., Path], collection: Path, tmp_path: Path) -> None:
    (collection / "low" / "clip4.wav").write_text("no sound")
    (collection / "low" / "notes.txt").write_text("no sound either")
    told = embed(sound_run(), collection, tmp_path / "o.parquet", device="cpu", max_bad=0.1)
    assert (told["n"], told["skipped"]) == (11, 1)
    with pytest.raises(DataError, match="1 of 12"):
        embed(sound_run(), collection, tmp_path / "p.parquet", device="cpu")


def test_a_stopped_command_goes_on_to_the_same_bytes(
    sound_run: Callable[..., Path], collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments: dict[str, Any] = {"device": "cpu", "batch_size": 3, "chunk": 5}
    embed(sound_run(), collection, tmp_path / "whole.parquet", **arguments)
    write, seen = Parts.write, []

    def once(self: Parts, number: int, *rest: Any) -> None:
        if number == 1 and not seen:
            seen.append(number)
            raise ZooError("The disk is full.")
        write(self, number, *rest)

    monkeypatch.setattr(Parts, "write", once)
    with pytest.raises(ZooError):
        embed(sound_run(), collection, tmp_path / "out.parquet", **arguments)
    assert embed(sound_run(), collection, tmp_path / "out.parquet", **arguments)["resumed"] == 5
    assert (tmp_path / "out.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_no_more_clips_in_memory_than_a_batch(
    sound_run: Callable[..., Path], collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo.embedding.model import Embedder

    sizes: list[int] = []
    run = Embedder.run
    monkeypatch.setattr(Embedder, "run", lambda self, arrays: sizes.append(len(arrays)) or run(self, arrays))
    embed(sound_run(), collection, tmp_path / "o.parquet", device="cpu", batch_size=5)
    assert sizes == [5, 5, 2]
