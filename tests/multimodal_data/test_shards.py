"""Pairs out of WebDataset shards, read where they lie."""

from __future__ import annotations

import gzip
import json
import os
import tarfile
from pathlib import Path

import pytest
import webdataset
from captioned import caption, image_side, png, read, recording, samples, shard, texts

from zoo.data.items import Member, identity
from zoo.data.shards import cut_by_key, find_shards, read_shards, split_name, split_of
from zoo.data.tar_index import index_tar
from zoo_registry.errors import DataError

PAIR = ("image", "text")


def every(dataset) -> list:  # type: ignore[no-untyped-def,type-arg]
    return [pair for table in dataset.splits.values() for pair in table.columns["input"]]


def test_samples_are_those_of_the_webdataset_library(tmp_path: Path) -> None:
    paths = [shard(tmp_path / f"{i:03d}.tar", samples(6, first=6 * i)) for i in range(3)]
    found = [sample for split in read_shards(paths, PAIR).splits.values() for sample in split]
    theirs = list(webdataset.WebDataset([str(path) for path in paths], shardshuffle=False, empty_check=False))
    assert [sample.key for sample in found] == [sample["__key__"] for sample in theirs]
    for ours, their in zip(found, theirs, strict=True):
        ((image, text),) = ours.pairs
        assert image.read() == their["png"]
        assert text == (their["txt"].decode() if "txt" in their else json.loads(their["json"])["caption"])


@pytest.mark.parametrize("name", ["a/b.c/0001.caption.txt", "0001.jpg", "noending", "../../x.JPG", "a.b.c"])
def test_names_are_divided_as_webdataset_divides_them(name: str) -> None:
    key, ending = webdataset.tariterators.base_plus_ext(name)
    assert split_name(name) == ((key, ending.lower()) if key else ("", ""))


def test_hidden_files_belong_to_no_sample() -> None:
    assert split_name("x/.hidden") == split_name("._0001.png") == ("", "")


@pytest.mark.parametrize("data", ["{000..002}.tar", "*.tar", "", "{000,001,002}.tar"])
def test_patterns_folders_and_files(tmp_path: Path, data: str) -> None:
    for i in range(3):
        shard(tmp_path / f"{i:03d}.tar", samples(6, first=6 * i))
    dataset = read(f"{tmp_path}/{data}")
    assert sorted(text for _, text in every(dataset)) == sorted(caption(i) for i in range(18))
    assert len(dataset.splits["val"]) >= 1
    assert dataset.path == str(tmp_path / data)
    assert dataset.origin.endswith(", 3 shards of pairs")
    one = read(tmp_path / "001.tar")
    assert sorted(text for _, text in every(one)) == sorted(caption(i) for i in range(6, 12))


def test_a_pattern_that_misses_a_shard(tmp_path: Path) -> None:
    shard(tmp_path / "000.tar", samples(3))
    with pytest.raises(DataError, match=r"There is no .*001\.tar"):
        read(f"{tmp_path}/{{000..001}}.tar")
    with pytest.raises(DataError, match="brace"):
        read(f"{tmp_path}/{{000.tar")
    assert find_shards("imagenet") is None


def test_validation_shards_by_name_or_folder_and_else_by_key(tmp_path: Path) -> None:
    assert {split_of(Path(name)) for name in ("a/val-000.tar", "valid/000.tar", "x_val_1.tar")} == {"val"}
    assert {split_of(Path(name)) for name in ("value.tar", "t.tar", "a/train-000.tar")} == {"train"}
    shard(tmp_path / "a" / "train-000.tar", samples(9))
    shard(tmp_path / "a" / "val-000.tar", samples(3, first=9))
    assert texts(read(tmp_path / "a"), "val") == [caption(i) for i in range(9, 12)]
    shard(tmp_path / "b" / "train" / "000.tar", samples(9))
    shard(tmp_path / "b" / "val" / "000.tar", samples(3, first=9))
    assert texts(read(tmp_path / "b"), "val") == [caption(i) for i in range(9, 12)]
    shard(tmp_path / "c" / "000.tar", samples(60))
    cut = read(tmp_path / "c", val_fraction=0.3, seed=1)
    assert 8 <= len(cut.splits["val"]) <= 28
    assert any("by their keys" in note for note in cut.notes)
    # More shards move none of the samples to the other side.
    shard(tmp_path / "c" / "001.tar", samples(30, first=60))
    more = read(tmp_path / "c", val_fraction=0.3, seed=1)
    assert set(texts(cut, "val")) == {text for text in texts(more, "val") if int(text.split()[-1]) < 60}
    assert set(texts(read(tmp_path / "c", val_fraction=0.3, seed=2), "val")) != set(texts(more, "val"))


def test_a_cut_leaves_something_on_either_side(tmp_path: Path) -> None:
    found = read_shards([shard(tmp_path / "0.tar", samples(2))], PAIR).splits["train"]
    for fraction in (1e-9, 1 - 1e-9):
        train, val = cut_by_key(found, 0, fraction)
        assert (len(train), len(val)) == (1, 1)
    with pytest.raises(DataError, match="too few samples"):
        cut_by_key(found[:1], 0, 0.5)


def test_several_captions_of_a_sample_stay_together(tmp_path: Path) -> None:
    files = [
        file
        for i in range(20)
        for file in ((f"{i}.png", png(i)), (f"{i}.json", json.dumps({"text": [f"one {i}", f"two {i}"]}).encode()))
    ]
    dataset = read(shard(tmp_path / "0.tar", files), val_fraction=0.3)
    assert len(every(dataset)) == 40
    sides = [{image for image, _ in table.columns["input"]} for table in dataset.splits.values()]
    assert not sides[0] & sides[1]


def test_incomplete_samples_are_named(tmp_path: Path) -> None:
    files = [*samples(60), ("lone.png", png(99)), ("words.txt", b"nothing to see"), ("bad.png", png(98))]
    files += [("bad.json", b"{"), ("README", b"no ending"), ("._0001.png", b"of macOS")]
    dataset = read(shard(tmp_path / "0.tar", files))
    (note,) = [note for note in dataset.notes if note.startswith("left out")]
    for what in (
        "left out 3 of 63",
        "lone (it has no caption)",
        "words (it has no image file)",
        "bad (its json is no JSON)",
    ):
        assert what in note
    with pytest.raises(DataError, match="More than 1% of 63 pairs"):
        read(tmp_path / "0.tar", max_bad=0.01)


def test_names_that_lead_elsewhere_and_links_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png(77))
    path = tmp_path / "in" / "0.tar"
    shard(path, [("../../evil.png", png(1)), ("../../evil.txt", b"out of here"), ("/abs/x.png", png(2)),
                 ("/abs/x.txt", b"from the root"), *samples(3)])  # fmt: skip
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("linked.png")
        link.type, link.linkname = tarfile.SYMTYPE, "../secret.png"
        archive.addfile(link)
        hard = tarfile.TarInfo("hard.png")
        hard.type, hard.linkname = tarfile.LNKTYPE, str(tmp_path / "secret.png")
        archive.addfile(hard)
    before = sorted(tmp_path.rglob("*"))
    pairs = every(read(path))
    assert sorted(text for _, text in pairs)[:2] == ["from the root", "out of here"]
    assert sorted(image.read() for image, _ in pairs) == sorted([*map(png, (0, 1, 2)), png(1), png(2)])
    assert sorted(tmp_path.rglob("*")) == before


def test_a_truncated_shard_keeps_what_can_be_read(tmp_path: Path) -> None:
    whole = shard(tmp_path / "whole.tar", samples(30)).read_bytes()
    index = index_tar(tmp_path / "whole.tar")
    assert (index.broken, index.cut, len(index.members)) == ("", [], 60)
    within = index.members[-2]
    (tmp_path / "0.tar").write_bytes(whole[: within.offset + within.size // 2])
    (tmp_path / "whole.tar").unlink()
    dataset = read(tmp_path)
    assert len(every(dataset)) == 29
    (note,) = [note for note in dataset.notes if note.startswith("left out")]
    assert "left out 1 of 30" in note
    assert f"0.tar (ends within {within.name})" in note
    with pytest.raises(DataError, match="More than 1%"):
        read(tmp_path, max_bad=0.01)


@pytest.mark.parametrize("where", ["between files", "within a header", "the end mark"])
def test_every_way_a_shard_can_end_early_is_said(tmp_path: Path, where: str) -> None:
    path = shard(tmp_path / "0.tar", samples(30))
    last = index_tar(path).members[-2]
    end = {"between files": last.offset - 512, "within a header": last.offset - 300}.get(where)
    data = path.read_bytes()
    path.write_bytes(data[:end] if end else data.rstrip(b"\0") + b"\0" * (-len(data.rstrip(b"\0")) % 512))
    index = index_tar(path)
    assert index.broken
    dataset = read(path)
    assert len(every(dataset)) == (30 if where == "the end mark" else 29)
    assert any(f"{path} ({index.broken})" in note for note in dataset.notes)


def test_a_shard_damaged_in_the_middle_counts_what_is_behind(tmp_path: Path) -> None:
    path = shard(tmp_path / "0.tar", samples(40))
    middle = index_tar(path).members[40]
    data = bytearray(path.read_bytes())
    data[middle.offset - 512 : middle.offset] = os.urandom(512)
    path.write_bytes(data)
    found = read_shards([path], PAIR)
    assert len(found.splits["train"]) == 20
    assert 15 <= found.lost <= 25
    assert "is damaged from byte" in found.bad[-1][1]
    with pytest.raises(DataError, match="More than 5%"):
        read(path)
    assert len(every(read(path, max_bad=0.6))) == 20


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"only text\n" * 3, "is no tar archive"),
        (b"only text\n" * 300, "is no tar archive"),
        (gzip.compress(b"x" * 4096), "is a compressed archive"),
        (b"\0" * 10240, "holds no image files with captions"),
    ],
    ids=["empty", "short text", "long text", "gzip", "no members"],
)
def test_what_is_no_archive(tmp_path: Path, content: bytes, said: str) -> None:
    shard(tmp_path / "0.tar", samples(3))
    (tmp_path / "1.tar").write_bytes(content)
    with pytest.raises(DataError, match=said):
        read(tmp_path / "1.tar" if "holds" in said else tmp_path)


def test_a_negative_size_ends_the_reading(tmp_path: Path) -> None:
    path = shard(tmp_path / "0.tar", samples(4))
    data = bytearray(path.read_bytes())
    start = index_tar(path).members[4].offset - 512
    data[start + 124 : start + 136] = b"\xff" * 12  # -1, in the binary form of GNU
    header = bytes(data[start : start + 512])
    total = sum(header[:148]) + 8 * 32 + sum(header[156:])
    data[start + 148 : start + 156] = f"{total:06o}\0 ".encode()
    path.write_bytes(data)
    index = index_tar(path)
    assert len(index.members) == 4
    assert "damaged" in index.broken


def test_members_are_decoded_named_and_told_apart(tmp_path: Path) -> None:
    path = shard(tmp_path / "0.tar", samples(3))
    (tmp_path / "1.png").write_bytes(png(1))
    first, second = (pair[0] for pair in every(read(path))[:2])
    pipeline = image_side()
    (member,) = [one for one, _ in every(read(path)) if one.name == "0001.png"]
    assert (pipeline.decode(member) == pipeline.decode(str(tmp_path / "1.png"))).all()
    assert identity(first, "image") != identity(second, "image")
    before = identity(first, "image")
    os.utime(path, ns=(1, 1))
    assert identity(first, "image") != before
    with pytest.raises(DataError, match=r"0.tar: gone.png ends after"):
        pipeline.decode(Member(str(path), "gone.png", path.stat().st_size - 5, 100))
    with pytest.raises(DataError, match=r"0.tar: 0000.txt"):
        pipeline.decode(next(one for one in index_tar(path).members if one.name.endswith("txt")))
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        pipeline.decode(first)


def test_the_same_picture_in_both_splits_is_noted(tmp_path: Path) -> None:
    shard(tmp_path / "train-0.tar", samples(5))
    shard(tmp_path / "val-0.tar", [("other.png", png(2)), ("other.txt", b"the very same")])
    (note,) = [note for note in read(tmp_path).notes if note.startswith("image:")]
    assert "1 item is in both train and val" in note
    assert "train-0.tar: 0002.png" in note


def test_shards_of_sound(tmp_path: Path) -> None:
    files = []
    for i in range(4):
        recording(tmp_path / "r.wav", 0.3, i)
        files += [(f"{i}.wav", (tmp_path / "r.wav").read_bytes()), (f"{i}.txt", caption(i).encode())]
    from captioned import audio_side

    dataset = read(shard(tmp_path / "0.tar", files), "audio-text")
    assert [len(audio_side().decode(sound)) for sound, _ in every(dataset)] == [600] * 4
