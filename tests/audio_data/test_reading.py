"""Layouts of recordings, from files on a disk to a data set."""

from __future__ import annotations

import csv
import json
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from audio_data.tones import Write, tone

from zoo.config import FinetuneConfig, make_config
from zoo.data.batches import label_array
from zoo.data.dataset import DataSet
from zoo.data.items import identity, name_of
from zoo.data.sources import load_dataset
from zoo.protocols import IGNORE
from zoo.sounds import open_sound
from zoo.units import read
from zoo_registry.errors import DataError, UnknownName, UsageError


class NoNames:
    def dataset(self, name: str) -> Any:
        raise UnknownName(f"No data set {name}.", "Give a path.")


def load(data: Path, modality: str = "audio", **options: Any) -> DataSet:
    return load_dataset(str(data), registry=NoNames(), modality=modality, **options)  # type: ignore[arg-type]


def table(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    rows = list(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".jsonl", ".json"):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
    return path


def clips(write: Write, count: int = 10, folder: str = "", suffix: str = ".wav") -> list[str]:
    """Names of files that all sound different."""
    return [write(f"{folder}{i}{suffix}", tone(0.25, pitch=200 + 20 * i)).name for i in range(count)]


def refused(data: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(data, **options)
    assert caught.value.remedy
    return caught.value.problem


# Classes


def test_class_folders(write: Write, tmp_path: Path) -> None:
    for split, name, count in [("train", "yes", 4), ("train", "no", 4), ("val", "yes", 1), ("val", "no", 1)]:
        for i in range(count):
            write(
                f"data/{split}/{name}/{i}.{'flac' if i else 'wav'}", tone(0.1, pitch=300 + 50 * i + len(split + name))
            )
    dataset = load(tmp_path / "data")
    assert (dataset.task, dataset.labels) == ("classification", ("no", "yes"))
    assert [len(one) for one in dataset.splits.values()] == [8, 2]
    assert load(tmp_path / "data", task="transcription").splits["val"].columns["label"] == ["no", "yes"]
    assert "not when it is heard" in refused(tmp_path / "data", task="frame-classification")


@pytest.mark.parametrize("name", ["data.csv", "data.tsv", "data.jsonl", "data.parquet"])
def test_a_manifest_of_classes_and_transcripts(write: Write, tmp_path: Path, name: str) -> None:
    rows = [{"path": clip, "label": "ab"[i % 2], "text": f"word {i}"} for i, clip in enumerate(clips(write))]
    path = tmp_path / name
    if path.suffix == ".parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        table(path, rows)
    dataset = load(path)
    assert (dataset.task, dataset.labels) == ("classification", ("a", "b"))
    assert all(isinstance(item, str) for item in dataset.splits["train"].columns["input"])
    spoken = load(path, task="transcription")
    assert sorted(spoken.splits["train"].columns["label"] + spoken.splits["val"].columns["label"])[3] == "word 3"


def test_recordings_inside_a_parquet_file(write: Write, tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    rows = [
        {"audio": {"bytes": (tmp_path / clip).read_bytes(), "path": None}, "label": "ab"[i % 2]}
        for i, clip in enumerate(clips(write))
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "t.parquet")
    dataset = load(tmp_path / "t.parquet")
    assert dataset.labels == ("a", "b")
    assert len(open_sound(dataset.splits["train"].columns["input"][0], 8000)) == 2000


# Stretches


def test_stretches_of_long_recordings(write: Write, tmp_path: Path) -> None:
    write("long.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 80_000))
    rows = [{"path": "long.wav", "start": i, "end": i + 0.5, "label": "ab"[i % 2]} for i in range(10)]
    dataset = load(table(tmp_path / "t.csv", rows))
    items = dataset.splits["train"].columns["input"] + dataset.splits["val"].columns["input"]
    assert sorted(item["start"] for item in items) == list(range(10))
    third = next(item for item in items if item["start"] == 3)
    assert third == {"path": str(tmp_path / "long.wav"), "start": 3.0, "end": 3.5}
    np.testing.assert_array_equal(open_sound(third, 8000), open_sound(third["path"], 8000)[24_000:28_000])
    assert "columns of t.csv: input = path, label = label, start = start, end = end" in dataset.notes
    assert not any("both" in note for note in dataset.notes)  # other stretches of a file are no duplicates
    assert name_of(third, 0, "audio") == f"{third['path']} from 3.0 s to 3.5 s"


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"offset": 1, "duration": 0.5}, (1.0, 1.5)),
        ({"start": 1}, (1.0, None)),
        ({"end_time": 1}, (None, 1.0)),
        ({"onset": 1, "offset": 2}, (1.0, 2.0)),
        ({"start": 1, "end": ""}, (1.0, None)),
        ({"start": 1, "end": 2, "duration": 9}, (1.0, 2.0)),
    ],
)
def test_how_times_may_be_written(write: Write, tmp_path: Path, columns: dict[str, Any], expected: Any) -> None:
    rows = [{"path": clip, "label": "ab"[i % 2], **columns} for i, clip in enumerate(clips(write))]
    item = load(table(tmp_path / "t.csv", rows)).splits["train"].columns["input"][0]
    assert (item["start"], item["end"]) == expected


def test_a_duration_alone_is_no_stretch(write: Write, tmp_path: Path) -> None:
    rows = [{"path": clip, "label": "ab"[i % 2], "duration": 0.25} for i, clip in enumerate(clips(write))]
    assert isinstance(load(table(tmp_path / "t.csv", rows)).splits["train"].columns["input"][0], str)


def test_times_that_are_none(write: Write, tmp_path: Path) -> None:
    rows = [
        {"path": clip, "label": "ab"[i % 2], "start": "0:01" if i == 4 else 0} for i, clip in enumerate(clips(write))
    ]
    assert "t.csv:6: '0:01' in column 'start' is no number of seconds" in refused(table(tmp_path / "t.csv", rows))


def test_identity_of_items(write: Write) -> None:
    path = str(write("a.wav"))
    items: list[Any] = [
        path,
        {"path": path, "start": 0.1, "end": None},
        {"path": path, "start": 0.1, "end": 0.2},
        {"array": tone(), "sampling_rate": 8000},
        {"array": tone() * 0.5, "sampling_rate": 8000},
        {"array": tone(), "sampling_rate": 16000},
        {"bytes": b"x", "path": path},
        {"path": "/no/such.wav", "start": 1},
        Path(path).read_bytes(),
    ]
    found = [identity(item, "audio") for item in items]
    assert len(set(found)) == len(items)
    assert found == [identity(item, "audio") for item in items]
    soundfile.write(path, tone(0.7), 8000)
    assert [a == identity(b, "audio") for a, b in zip(found, items, strict=True)] == [False] * 3 + [True] * 6


def test_equal_data_has_an_equal_fingerprint(write: Write, tmp_path: Path) -> None:
    rows = [{"path": clip, "label": "ab"[i % 2], "start": 0.0, "end": 0.2} for i, clip in enumerate(clips(write))]
    first = load(table(tmp_path / "t.csv", rows)).fingerprint
    assert load(tmp_path / "t.csv").fingerprint == first
    rows[3]["end"] = 0.1
    assert load(table(tmp_path / "t.csv", rows)).fingerprint != first


def test_duplicates_across_splits(write: Write, tmp_path: Path) -> None:
    names = clips(write, 6)
    write("copy.wav", tone(0.25, pitch=200))
    rows = [{"path": name, "label": "ab"[i % 2], "split": "train"} for i, name in enumerate(names)]
    rows += [
        {"path": "copy.wav", "label": "a", "split": "val"},
        {"path": write("x.wav").name, "label": "b", "split": "val"},
    ]
    notes = load(table(tmp_path / "t.csv", rows)).notes
    assert f"1 item is in both train and val: {tmp_path / '0.wav'} = {tmp_path / 'copy.wav'}" in notes
    for row in rows:
        row |= {"start": 0.05, "end": 0.2}
    rows[0]["end"] = 0.15  # now no longer the same stretch
    assert not any("both" in note for note in load(table(tmp_path / "t.csv", rows)).notes)


# Transcripts


def test_transcripts_make_the_task(write: Write, tmp_path: Path) -> None:
    texts = ["two  one ", "zwo\u0308lf", "one two", "two", "one", "one one", "two two", "two one", "zwölf one"]
    rows = [{"file": clip, "transcript": text} for clip, text in zip(clips(write, 9), texts, strict=True)]
    dataset = load(table(tmp_path / "t.csv", rows), val_fraction=0.2, seed=3)
    everything = dataset.splits["train"].columns["label"] + dataset.splits["val"].columns["label"]
    assert dataset.task == "transcription"
    assert sorted(everything) == sorted(["two one", "zwölf", *texts[2:]])
    assert dataset.labels == (" ", "e", "f", "l", "n", "o", "t", "w", "z", "ö")
    labels = label_array(dataset, "val", range(len(dataset.splits["val"])))
    texts = dataset.splits["val"].columns["label"]
    assert [read(row, dataset.labels) for row in labels.each(range(len(labels)))] == texts  # type: ignore[union-attr]
    batch = labels.take(np.arange(len(labels)))
    assert ((batch == IGNORE).sum(axis=1) == max(map(len, texts)) - np.array(list(map(len, texts)))).all()
    assert "random" in next(note for note in dataset.notes if "no validation split" in note)


def test_pieces(write: Write, tmp_path: Path) -> None:
    rows = [{"path": clip, "text": "seven eleven" if i % 2 else "one"} for i, clip in enumerate(clips(write))]
    dataset = load(table(tmp_path / "t.csv", rows), units="14")
    assert len(dataset.labels) == 14
    assert "▁" in dataset.labels
    assert "transcripts are spelled in 14 pieces of words" in dataset.notes
    assert load(tmp_path / "t.csv", units="14").fingerprint == dataset.fingerprint
    assert load(tmp_path / "t.csv").fingerprint != dataset.fingerprint
    many = load(tmp_path / "t.csv", units="500")
    assert any("no more than" in note and "500 were asked for" in note for note in many.notes)
    with pytest.raises(UsageError, match="no units 'words'"):
        load(tmp_path / "t.csv", units="words")


def test_units_without_transcripts(write: Write, tmp_path: Path) -> None:
    rows = [{"path": clip, "label": "ab"[i % 2]} for i, clip in enumerate(clips(write))]
    with pytest.raises(UsageError, match="the task is classification"):
        load(table(tmp_path / "t.csv", rows), units="characters")


def test_units_of_a_configuration() -> None:
    assert make_config(FinetuneConfig, {"model": "m", "data": "d", "units": 500}).units == "500"


def test_unknown_characters_are_counted_and_kept_in_the_text(write: Write, tmp_path: Path) -> None:
    rows = [{"path": clip, "text": "a b", "split": "train"} for clip in clips(write, 4)]
    rows += [{"path": clip, "text": text, "split": "val"} for clip, text in zip(clips(write, 3, "v"), ["a€", "b", "€ñ"],
                                                                               strict=True)]  # fmt: skip
    dataset = load(table(tmp_path / "t.csv", rows))
    assert dataset.splits["val"].columns["label"] == ["a€", "b", "€ñ"]
    assert any("2 of 3 val transcripts have characters that no training" in note and note.endswith(": € ñ")
               for note in dataset.notes)  # fmt: skip
    labels = label_array(dataset, "val", [0, 1, 2])
    assert [row.tolist() for row in labels.each(range(3))] == [[1], [2], []]  # type: ignore[union-attr]


def test_empty_transcripts_are_counted(write: Write, tmp_path: Path) -> None:
    rows = [{"path": clip, "text": " " if i == 2 else "one"} for i, clip in enumerate(clips(write))]
    dataset = load(table(tmp_path / "t.csv", rows))
    assert sum(map(len, dataset.splits.values())) == 9
    assert f"left out: 1 of 10 transcripts are empty: {tmp_path / 't.csv'}:4" in dataset.notes
    for row in rows[:8]:
        row["text"] = ""
    assert "8 of 10 transcripts are empty" in refused(table(tmp_path / "t.csv", rows))


def test_a_nemo_manifest(write: Write, tmp_path: Path) -> None:
    for split in ("train", "dev"):
        names = clips(write, 4, f"{split}_")
        rows = [{"audio_filepath": name, "text": "yes", "duration": 0.25} for name in names]
        table(tmp_path / f"{split}_manifest.json", rows)
    for data in (tmp_path, tmp_path / "train_manifest.json"):
        dataset = load(data)
        assert dataset.task == "transcription"
        assert isinstance(dataset.splits["train"].columns["input"][0], str)
    rows = [{"audio_filepath": "train_0.wav", "text": "yes", "offset": i / 20, "duration": 0.05} for i in range(5)]
    dataset = load(table(tmp_path / "o.jsonl", rows))
    assert {item["end"] for item in dataset.splits["val"].columns["input"]} <= {0.05, 0.1, 0.15, 0.2, 0.25}
    (tmp_path / "list.json").write_text(json.dumps(rows))
    assert len(load(tmp_path / "list.json").splits["train"]) == 4


def test_common_voice(write: Write, tmp_path: Path) -> None:
    for split in ("train", "dev", "test", "other"):
        names = clips(write, 3, f"clips/{split}", ".mp3")
        table(tmp_path / f"{split}.tsv", [
            {"client_id": f"c{i}", "path": name, "sentence": f"Guten Tag {split}.", "up_votes": 2, "down_votes": 0,
             "age": "", "gender": "", "accents": "", "locale": "de", "segment": ""}
            for i, name in enumerate(names)
        ])  # fmt: skip
    dataset = load(tmp_path)
    assert dataset.task == "transcription"
    assert {split: len(one) for split, one in dataset.splits.items()} == {"train": 3, "val": 3, "test": 3}
    assert dataset.splits["val"].columns["label"] == ["Guten Tag dev."] * 3
    speakers = load(tmp_path, task="speaker-verification")
    assert speakers.labels == ("c0", "c1", "c2")


def librispeech(write: Write, root: str) -> None:
    for split, speaker in [("train-clean-5", "19"), ("train-clean-5", "26"), ("dev-clean-2", "84")]:
        folder = f"{root}/{split}/{speaker}/198"
        lines = []
        for i in range(3):
            name = f"{speaker}-198-{i:04d}"
            write(f"{folder}/{name}.flac", tone(0.2, 16000, pitch=100 + int(speaker) + 5 * i), 16000)
            lines.append(f"{name} CHAPTER {['ONE', 'TWO', 'SIX'][i]}\n" if i < 2 or speaker != "84" else f"{name}\n")
        (write(f"{folder}/x.wav").parent / f"{speaker}-198.trans.txt").write_text("".join(lines))


def test_librispeech_as_it_comes(write: Write, tmp_path: Path) -> None:
    librispeech(write, "LibriSpeech")
    for folder in (tmp_path, tmp_path / "LibriSpeech"):
        dataset = load(folder)
        assert dataset.task == "transcription"
        assert {split: len(one) for split, one in dataset.splits.items()} == {"train": 6, "val": 2}
        assert dataset.splits["train"].columns["label"][1] == "CHAPTER TWO"
        assert Path(dataset.splits["train"].columns["input"][1]).name == "19-198-0001.flac"
        assert any(note.startswith("left out: 1 of 3 transcripts are empty") for note in dataset.notes)
    one = load(tmp_path / "LibriSpeech" / "train-clean-5", val_fraction=0.5)
    assert [len(part) for part in one.splits.values()] == [3, 3]
    assert "no data for classification" in refused(tmp_path, task="classification")
    assert "only one speaker" in refused(tmp_path / "LibriSpeech" / "dev-clean-2", task="speaker-verification")


def test_librispeech_has_speakers(write: Write, tmp_path: Path) -> None:
    librispeech(write, ".")
    dataset = load(tmp_path, task="speaker-verification")
    assert dataset.labels == ("19", "26", "84")
    assert set(dataset.splits["val"].columns["label"]) == {2}
    assert "1 of the 1 val speakers is not trained on" in dataset.notes


# Events


def test_events_of_recordings(write: Write, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write(f"{name}.wav", tone(1.0, pitch=200 + ord(name)))
    rows = [
        {"path": "a.wav", "start": 0.5, "end": 0.75, "label": "dog", "split": "train"},
        {"path": "b.wav", "start": 0.2, "end": 5.0, "label": "cat", "split": "train"},
        {"path": "a.wav", "start": 0.1, "end": 0.2, "label": "cat", "split": "train"},
        {"path": "c.wav", "start": "", "end": "", "label": "", "split": "val"},
    ]
    dataset = load(table(tmp_path / "t.csv", rows), task="frame-classification")
    assert dataset.labels == ("none", "cat", "dog")
    train = dataset.splits["train"].columns
    assert train["input"] == [str(tmp_path / "a.wav"), str(tmp_path / "b.wav")]
    assert train["label"] == [[(0.1, 0.2, 1), (0.5, 0.75, 2), (0.75, 1.0, 0)], [(0.2, 1.0, 1)]]
    labels = label_array(dataset, "train", [0, 1])
    a, b = (row.tolist() for row in labels.each([0, 1]))  # type: ignore[union-attr]
    assert a == [0] * 10 + [1] * 10 + [0] * 30 + [2] * 25 + [0] * 25
    assert b == [0] * 20 + [1] * 80
    assert label_array(dataset, "val", [0]).each([0])[0].tolist() == [0] * 100  # type: ignore[union-attr]


def test_ticks_hold_the_event_at_their_middle() -> None:
    from zoo.data.events import ticks

    rng = np.random.default_rng(0)
    for _ in range(200):
        edges = np.sort(rng.integers(0, 3000, 6)) / 1000  # milliseconds, where rounding could go either way
        events = [(float(edges[i]), float(edges[i + 1]), i + 1) for i in (0, 2, 4) if edges[i + 1] > edges[i]]
        found = ticks(events)
        end = max(end for _, end, _ in events)
        assert len(found) == -(-round(end * 1000) // 10)
        for tick, number in enumerate(found):
            middle = tick * 10 + 5
            inside = [n for start, stop, n in events if round(start * 1000) <= middle < round(stop * 1000)]
            assert number == (inside[-1] if inside else 0)


def test_events_that_cannot_be(write: Write, tmp_path: Path) -> None:
    write("a.wav", tone(1.0))
    row = {"path": "a.wav", "start": 0.5, "end": 0.7, "label": "dog"}
    task = "frame-classification"
    assert "'dog' has no start before its end" in refused(table(tmp_path / "t.csv", [{**row, "end": 0.5}]), task=task)
    assert "t.csv:2" in refused(table(tmp_path / "t.csv", [{**row, "start": ""}]), task=task)
    assert "'dog' begins at 2 s" in refused(table(tmp_path / "t.csv", [{**row, "start": 2, "end": 3}]), task=task)
    assert "no columns for frame" in refused(table(tmp_path / "t.csv", [{"path": "a.wav", "label": "dog"}]), task=task)
    assert "has an event" in refused(table(tmp_path / "t.csv", [{**row, "label": ""}]), task=task)


def test_overlapping_events_are_said(write: Write, tmp_path: Path) -> None:
    names = clips(write, 5)
    rows = [{"path": name, "start": 0.0, "end": 0.1, "label": "x"} for name in names]
    rows.append({"path": names[0], "start": 0.05, "end": 0.15, "label": "y"})
    dataset = load(table(tmp_path / "t.csv", rows), task="frame-classification")
    assert "1 of 5 recordings have events that overlap: the later one counts" in dataset.notes


# Speakers


def test_speakers_are_not_divided(write: Write, tmp_path: Path) -> None:
    names = clips(write, 20)
    rows = [{"path": name, "label": "ab"[i % 2], "speaker_id": f"s{i % 5}"} for i, name in enumerate(names)]
    dataset = load(table(tmp_path / "t.csv", rows), task="speaker-verification", val_fraction=0.4)
    train, val = (set(dataset.splits[split].columns["label"]) for split in ("train", "val"))
    assert (train, val) == ({0, 1, 2}, {3, 4})
    for split in ("train", "val"):
        for item, label in zip(*dataset.splits[split].columns.values(), strict=True):
            assert dataset.labels[label] == f"s{int(Path(item).stem) % 5}"
    assert "(seed 0, no speaker in both)" in " ".join(dataset.notes)
    assert label_array(dataset, "val", [0, 1]).dtype == np.int64
    for row in rows:
        row["speaker_id"] = "s"
    assert "only one speaker" in refused(table(tmp_path / "t.csv", rows), task="speaker-verification")


# What does not fit


def test_tasks_of_other_modalities(write: Write, tmp_path: Path) -> None:
    rows = [{"path": clip, "label": "ab"[i % 2]} for i, clip in enumerate(clips(write))]
    table(tmp_path / "t.csv", rows)
    with pytest.raises(UsageError, match="for texts, the model takes audio"):
        load(tmp_path / "t.csv", task="embedding")
    with pytest.raises(UsageError, match="for sound, the model takes text"):
        load(tmp_path / "t.csv", modality="text", task="transcription")
    assert "no columns for transcription" in refused(
        table(tmp_path / "n.csv", [{"path": clip, "n": i} for i, clip in enumerate(clips(write))]), task="transcription"
    )


def test_a_registered_transcription_set_on_the_data_path(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from zoo import default_registry

    librispeech(write, "librispeech")
    monkeypatch.setenv("ZOO_DATA_PATH", str(tmp_path))
    dataset = load_dataset("librispeech", registry=default_registry(), modality="audio")
    assert (dataset.name, dataset.task, len(dataset.splits["train"])) == ("librispeech", "transcription", 6)
    assert types.SimpleNamespace(**dataset.splits["train"].columns).label[0] == "CHAPTER ONE"
