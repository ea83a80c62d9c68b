"""Pairs out of tables and folders: columns, lists of captions, splits, and what is missing."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from captioned import caption, pictures, png, read, recording, texts

from zoo_registry.errors import DataError, UsageError


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def captioned(folder: Path, count: int = 10, media: str = "") -> list[dict[str, object]]:
    names = pictures(folder / media, count)
    return [{"file": f"{media}/{name}".lstrip("/"), "caption": caption(i)} for i, name in enumerate(names)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("path", "caption"),
        ("image_path", "title"),
        ("filename", "description"),
        ("photo", "text"),
        ("filepath", "sentence"),
    ],
)
def test_the_usual_names_are_recognised_and_said(tmp_path: Path, first: str, second: str) -> None:
    rows = [{"id": i, second: row["caption"], first: row["file"]} for i, row in enumerate(captioned(tmp_path))]
    dataset = read(write(tmp_path / "t.csv", rows))
    assert f"columns of t.csv: input = {first}, pair = {second}" in dataset.notes
    assert (dataset.modality, dataset.task, dataset.labels) == ("image-text", "pretraining", ())
    pairs = [pair for table in dataset.splits.values() for pair in table.columns["input"]]
    assert sorted(pairs) == [(str(tmp_path / str(row["file"])), row["caption"]) for row in captioned(tmp_path)]
    assert {label for table in dataset.splits.values() for label in table.columns["label"]} == {0}


def test_named_columns_win_over_guesses(tmp_path: Path) -> None:
    rows = [{**row, "caption": "not this", "spam": f"this one {i}"} for i, row in enumerate(captioned(tmp_path))]
    dataset = read(write(tmp_path / "t.csv", rows), columns={"pair": "spam", "input": "file"})
    assert sorted(texts(dataset, "train") + texts(dataset, "val")) == sorted(f"this one {i}" for i in range(10))
    with pytest.raises(DataError, match="no column 'nope'"):
        read(tmp_path / "t.csv", columns={"pair": "nope"})
    with pytest.raises(DataError, match="cannot be both sides"):
        read(tmp_path / "t.csv", columns={"pair": "file", "input": "file"})


def test_a_column_of_other_words_is_taken_where_no_name_tells(tmp_path: Path) -> None:
    rows = [{"a": row["file"], "code": f"x{i}", "b": row["caption"]} for i, row in enumerate(captioned(tmp_path))]
    assert set(texts(read(write(tmp_path / "t.csv", rows)), "train")) <= {caption(i) for i in range(10)}
    bare = [{"a": row["a"], "code": row["code"]} for row in rows]
    with pytest.raises(DataError, match="no column that looks like captions") as caught:
        read(write(tmp_path / "bare.csv", bare))
    assert "--pair-column" in caught.value.remedy


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_list_of_captions_is_a_pair_each_and_no_picture_is_cut_in_two(tmp_path: Path, kind: str) -> None:
    names = pictures(tmp_path, 12)
    captions = [[f"{caption(i)} {way}" for way in "abc"] for i in range(12)]
    if kind == "jsonl":
        lines = [json.dumps({"image": name, "captions": three}) for name, three in zip(names, captions, strict=True)]
        (tmp_path / "t.jsonl").write_text("\n".join(lines))
    else:
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.table({"image": names, "captions": captions}), tmp_path / "t.parquet")
    dataset = read(tmp_path / f"t.{kind}", val_fraction=0.25, seed=3)
    assert (len(dataset.splits["train"]), len(dataset.splits["val"])) == (27, 9)
    of = {split: {pair[0] for pair in table.columns["input"]} for split, table in dataset.splits.items()}
    assert not of["train"] & of["val"]
    assert len(of["train"]) == 9
    assert any("cut 9 of 36 pairs for it (seed 3, by image)" in note for note in dataset.notes)
    again = read(tmp_path / f"t.{kind}", val_fraction=0.25, seed=3)
    assert again.splits == dataset.splits
    assert again.fingerprint == dataset.fingerprint
    assert read(tmp_path / f"t.{kind}", val_fraction=0.25, seed=4).splits != dataset.splits


def test_pictures_within_a_parquet_file(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    images = [{"bytes": png(i), "path": f"{i}.png"} for i in range(8)]
    parquet.write_table(pyarrow.table({"image": images, "text": list(map(caption, range(8)))}), tmp_path / "t.parquet")
    dataset = read(tmp_path / "t.parquet")
    for path, text in dataset.splits["train"].columns["input"]:
        assert Path(path).read_bytes() == png(int(text.split()[-1]))


def test_a_split_column_and_split_files(tmp_path: Path) -> None:
    rows = [
        {**row, "split": "test" if i > 7 else "dev" if i > 5 else "train"} for i, row in enumerate(captioned(tmp_path))
    ]
    one = read(write(tmp_path / "t.csv", rows))
    assert {split: len(table) for split, table in one.splits.items()} == {"train": 6, "val": 2, "test": 2}
    (tmp_path / "t.csv").unlink()
    write(tmp_path / "train.csv", rows[:7])
    write(tmp_path / "val.csv", rows[7:])
    two = read(tmp_path)
    assert {split: len(table) for split, table in two.splits.items()} == {"train": 7, "val": 3}


def test_a_folder_with_a_table_beside_its_pictures(tmp_path: Path) -> None:
    for split, count in (("train", 6), ("val", 3)):
        rows = captioned(tmp_path / "a" / split, count)
        write(tmp_path / "a" / split / "metadata.csv", rows)
    assert {split: len(table) for split, table in read(tmp_path / "a").splits.items()} == {"train": 6, "val": 3}
    (tmp_path / "b" / "other").mkdir(parents=True)
    rows = captioned(tmp_path / "b", 9, media="images")
    write(tmp_path / "b" / "captions.csv", rows)
    write(tmp_path / "b" / "licences.csv", [{"file": "x", "licence": "y"}])
    assert len(texts(read(tmp_path / "b"), "train")) == 8
    # Names alone, where the pictures lie in a folder of media.
    write(tmp_path / "b" / "captions.csv", [{**row, "file": Path(str(row["file"])).name} for row in rows])
    assert len(texts(read(tmp_path / "b"), "train")) == 8
    (tmp_path / "b" / "captions.csv").rename(tmp_path / "b" / "one.csv")
    with pytest.raises(DataError, match=r"several tables: licences.csv, one.csv"):
        read(tmp_path / "b")


def test_captions_beside_pictures(tmp_path: Path) -> None:
    for i, name in enumerate(pictures(tmp_path / "deep" / "er", 40)):
        (tmp_path / "deep" / "er" / name).with_suffix(".txt").write_text(f" {caption(i)}\n\n")
    (tmp_path / "deep" / "er" / "003.txt").write_text("  \n")
    (tmp_path / "deep" / "er" / "notes.txt").write_text("belongs to nothing")
    dataset = read(tmp_path)
    assert sorted(texts(dataset, "train") + texts(dataset, "val")) == sorted(caption(i) for i in range(40) if i != 3)
    (note,) = [note for note in dataset.notes if note.startswith("left out")]
    assert note == f"left out 1 of 40 pairs, which are incomplete: {tmp_path}/deep/er/003.png (its caption is empty)"
    (tmp_path / "deep" / "er" / "004.txt").unlink()
    (tmp_path / "deep" / "er" / "005.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(DataError, match=r"More than 5% of 40 pairs .*005.png .*not UTF-8") as caught:
        read(tmp_path)
    assert "--max-bad" in caught.value.remedy
    assert len(texts(read(tmp_path, max_bad=0.1), "train")) == 35


def test_folders_of_splits_of_captions_beside_pictures(tmp_path: Path) -> None:
    for split, count in (("train", 5), ("valid", 2)):
        for i, name in enumerate(pictures(tmp_path / split, count)):
            (tmp_path / split / name).with_suffix(".txt").write_text(f"{split} {caption(i)}")
    dataset = read(tmp_path)
    assert all(text.startswith("valid") for text in texts(dataset, "val"))
    assert (len(texts(dataset, "train")), len(texts(dataset, "val"))) == (5, 2)
    # The same pictures in both, which a careful person would want to know.
    assert any(note.startswith("image: 2 items are in both train and val") for note in dataset.notes)


def test_rows_without_a_side_are_counted_and_too_many_are_refused(tmp_path: Path) -> None:
    rows = captioned(tmp_path, 50)
    rows[7]["caption"] = "  "
    rows[9]["file"] = ""
    dataset = read(write(tmp_path / "t.csv", rows))
    (note,) = [note for note in dataset.notes if note.startswith("left out 2 of 50")]
    assert "t.csv:9 (no caption in column caption)" in note
    assert "t.csv:11 (no image in column file)" in note
    for row in rows[:4]:
        row["caption"] = ""
    with pytest.raises(DataError, match="More than 5% of 50 pairs"):
        read(write(tmp_path / "t.csv", rows))


def test_sound_with_captions_and_with_pictures(tmp_path: Path) -> None:
    names = pictures(tmp_path, 6)
    for i in range(6):
        recording(tmp_path / f"{i}.wav", 0.2, i)
    rows = [{"audio": f"{i}.wav", "image": names[i], "caption": caption(i)} for i in range(6)]
    path = write(tmp_path / "t.csv", rows)
    heard, seen = read(path, "audio-text"), read(path, "image-audio")
    for one, text in heard.splits["train"].columns["input"]:
        assert (Path(one).suffix, caption(int(Path(one).stem))) == (".wav", text)
    for one, other in seen.splits["train"].columns["input"]:
        assert int(Path(one).stem) == int(Path(other).stem)
    path.unlink()
    for i in range(6):
        (tmp_path / f"{i}.wav").rename(tmp_path / f"{i:03d}.wav")
    beside = read(tmp_path, "image-audio")
    assert len(beside.splits["train"]) == 5


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("path,caption\nnone.png,a thing here\n", "No file named in column 'path'"),
        ("path,caption\n", "has no rows"),
        ("path\nx.png\n", "no column that looks like captions"),
        ("", "is empty"),
    ],
)
def test_broken_tables(tmp_path: Path, content: str, said: str) -> None:
    pictures(tmp_path, 1)
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(DataError, match=said):
        read(tmp_path / "t.csv")


def test_what_is_no_pairs_at_all(tmp_path: Path) -> None:
    pictures(tmp_path / "alone", 30)
    with pytest.raises(DataError, match="holds no image files with captions"):
        read(tmp_path / "alone")
    (tmp_path / "x.bin").write_bytes(b"1")
    with pytest.raises(DataError, match="no table of pairs"):
        read(tmp_path / "x.bin")
    with pytest.raises(DataError, match="There is no"):
        read(tmp_path / "nothing.csv")
    with pytest.raises(UsageError, match="no modality of pairs"):
        read(tmp_path / "alone", "image")


def test_a_fingerprint_follows_the_content_and_not_the_place(tmp_path: Path) -> None:
    write(tmp_path / "t.csv", captioned(tmp_path))
    before = read(tmp_path / "t.csv").fingerprint
    copy = tmp_path.with_name(tmp_path.name + "-moved")
    tmp_path.rename(copy)
    assert read(copy / "t.csv").fingerprint == before
    text = (copy / "t.csv").read_text()
    (copy / "t.csv").write_text(text.replace("number 3", "number three"))
    assert read(copy / "t.csv").fingerprint != before
