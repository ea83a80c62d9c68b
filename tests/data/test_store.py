from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from zoo.data import folder_cache
from zoo.data.dataset import Table
from zoo.data.store import LiveStore, MappedStore, build_store
from zoo.paths import cache_dir
from zoo_registry.errors import DataError, PluginError


def table(folder: Path, count: int, bad: tuple[int, ...] = ()) -> Table:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number}.num" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_text("junk" if number in bad else str(number))
    return Table({"input": [str(path) for path in paths]})


def test_items_come_back_in_the_order_asked_for(tmp_path: Path, pipeline, talk: list[str]) -> None:
    store = build_store(table(tmp_path, 40), pipeline, say=talk.append)
    assert isinstance(store, MappedStore)
    taken = store.take(np.array([39, 0, 7, 7]))
    assert taken.shape == (4, 1, 2, 2)
    assert taken.dtype == np.uint8
    assert taken[:, 0, 0, 0].tolist() == [39, 0, 7, 7]
    assert taken.flags.writeable
    assert type(taken) is np.ndarray
    assert store.take(np.array([], dtype=np.int64)).shape == (0, 1, 2, 2)
    assert talk == []


def test_the_second_run_decodes_nothing(tmp_path: Path, pipeline) -> None:
    data = table(tmp_path, 20)
    first = build_store(data, pipeline)
    assert pipeline.decoded == 20
    second = build_store(data, pipeline)
    assert pipeline.decoded == 20
    assert second.key == first.key
    assert np.array_equal(first.take(np.arange(20)), second.take(np.arange(20)))


def test_a_changed_file_or_pipeline_is_another_cache(tmp_path: Path, pipeline) -> None:
    data = table(tmp_path, 3)
    key = build_store(data, pipeline).key
    (tmp_path / "1.num").write_text("200")
    os.utime(tmp_path / "1.num", ns=(1, 1))
    changed = build_store(data, pipeline)
    assert changed.key != key
    assert changed.take(np.array([1])).max() == 200
    pipeline.key = "number-2"
    assert build_store(data, pipeline).key != changed.key


@pytest.mark.parametrize("limit", [None, 0])
def test_bad_items_are_skipped_counted_listed_and_said(
    tmp_path: Path, pipeline, talk: list[str], limit: int | None
) -> None:
    data = table(tmp_path, 40, bad=(3, 17))
    (tmp_path / "17.num").unlink()
    for _ in range(2):  # built, then read back
        talk.clear()
        store = build_store(data, pipeline, say=talk.append, cache_limit=limit)
        assert len(store) == 38
        assert store.kept.tolist() == [row for row in range(40) if row not in (3, 17)]
        assert [Path(what).name for what, _ in store.bad] == ["3.num", "17.num"]
        assert "holds no number" in store.bad[0][1]
        assert "2 of 40" in talk[-1]
        assert "3.num" in talk[-1]
        assert store.take(np.array([3, 37]))[:, 0, 0, 0].tolist() == [4, 39]


@pytest.mark.parametrize("limit", [None, 0])
def test_too_many_bad_items_stop_the_run(tmp_path: Path, pipeline, limit: int | None) -> None:
    data = table(tmp_path, 20, bad=(1, 2))
    with pytest.raises(DataError, match=r"More than 5% of the 20 items.*1\.num") as caught:
        build_store(data, pipeline, cache_limit=limit)
    assert caught.value.exit_code == 6
    assert len(build_store(data, pipeline, max_bad=0.1, cache_limit=limit)) == 18
    with pytest.raises(DataError):
        build_store(data, pipeline, cache_limit=limit)


def test_nothing_to_decode_and_nothing_left_are_errors(tmp_path: Path, pipeline) -> None:
    with pytest.raises(DataError, match="no items"):
        build_store(Table({"input": []}), pipeline)
    with pytest.raises(DataError):
        build_store(table(tmp_path, 2, bad=(0, 1)), pipeline, max_bad=1.0)


def test_above_the_limit_items_are_decoded_on_demand(tmp_path: Path, pipeline, talk: list[str]) -> None:
    data = table(tmp_path, 30, bad=(4,))
    live = build_store(data, pipeline, cache_limit=30 * 4 - 1, say=talk.append)
    assert isinstance(live, LiveStore)
    assert "above the cache limit" in talk[0]
    mapped = build_store(data, pipeline, cache_limit=30 * 4)
    assert isinstance(mapped, MappedStore)
    assert mapped.key == live.key
    rows = np.array([28, 0, 4])
    assert np.array_equal(live.take(rows), mapped.take(rows))
    assert live.take(rows[:0]).shape == (0, 1, 2, 2)


def test_a_live_store_remembers_which_items_are_bad(tmp_path: Path, pipeline) -> None:
    data = table(tmp_path, 30, bad=(4,))
    build_store(data, pipeline, cache_limit=0)
    pipeline.decoded = 0
    assert build_store(data, pipeline, cache_limit=0).bad[0][0].endswith("4.num")
    assert pipeline.decoded == 0


def test_a_full_disk_falls_back_to_decoding_on_demand(
    tmp_path: Path, pipeline, talk: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    data = table(tmp_path, 10)
    monkeypatch.setattr(folder_cache, "sync", full)
    store = build_store(data, pipeline, say=talk.append)
    assert isinstance(store, LiveStore)
    assert "full" in talk[0]
    assert store.take(np.array([9])).max() == 9
    assert not list((cache_dir() / "decoded").glob(".building-*"))


def test_a_cache_folder_that_cannot_be_written_is_explained(
    tmp_path: Path, pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DataError, match="cannot be written"):
        build_store(table(tmp_path, 3), pipeline)


@pytest.mark.parametrize("damage", ["cut", "junk", "half"])
def test_a_damaged_cache_is_built_again(tmp_path: Path, pipeline, damage: str) -> None:
    data = table(tmp_path, 10)
    folder = cache_dir() / "decoded" / build_store(data, pipeline).key
    if damage == "cut":
        (folder / "items.bin").write_bytes(b"12345")
    elif damage == "junk":
        (folder / "index.json").write_text("{")
    else:
        (folder / "index.json").unlink()
    pipeline.decoded = 0
    assert build_store(data, pipeline).take(np.arange(10))[:, 0, 0, 0].tolist() == list(range(10))
    assert pipeline.decoded == 10


def test_an_interrupted_build_leaves_nothing(tmp_path: Path, pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(item: object) -> np.ndarray:
        raise KeyboardInterrupt

    data = table(tmp_path, 10)
    monkeypatch.setattr(pipeline, "decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_store(data, pipeline)
    assert list((cache_dir() / "decoded").iterdir()) == []


def test_what_a_killed_build_left_is_removed_after_a_day(tmp_path: Path, pipeline) -> None:
    for name, age in [("old", 2 * 24 * 3600), ("new", 60)]:
        folder = cache_dir() / "decoded" / f".building-{name}"
        folder.mkdir(parents=True)
        (folder / "items.bin").write_bytes(b"x")
        for path in [folder / "items.bin", folder]:
            os.utime(path, (time.time() - age,) * 2)
    build_store(table(tmp_path, 3), pipeline)
    assert [path.name for path in (cache_dir() / "decoded").glob(".building-*")] == [".building-new"]


def test_a_pipeline_that_breaks_its_word_is_named(tmp_path: Path, pipeline) -> None:
    pipeline.decode = lambda item: np.zeros((3,), dtype=np.float32)
    with pytest.raises(PluginError, match="declares items of"):
        build_store(table(tmp_path, 2), pipeline)


def test_a_bug_in_decode_is_not_taken_for_bad_data(tmp_path: Path, pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "decode", lambda item: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build_store(table(tmp_path, 2), pipeline)


def test_bytes_are_items_too(pipeline) -> None:
    store = build_store(Table({"input": [b"5", b"x", b"7"]}), pipeline, max_bad=0.5)
    assert store.take(np.arange(2))[:, 0, 0, 0].tolist() == [5, 7]
    assert store.bad[0][0] == "item 1"


BUILD = """
import sys, time
from pathlib import Path
import numpy as np
from zoo.data.dataset import Table
from zoo.data.store import build_store

class Slow:
    modality, input_name, key, shape, dtype = "number", "number", "slow", (1,), np.dtype(np.uint8)
    def decode(self, item):
        time.sleep(0.02)
        return np.array([int(Path(item).read_text())], dtype=self.dtype)

folder, ready = Path(sys.argv[1]), Path(sys.argv[2])
(ready / sys.argv[3]).touch()
while len(list(ready.iterdir())) < 2:  # start together, so that neither finds the other's cache
    time.sleep(0.01)
store = build_store(Table({"input": [str(folder / f"{n}.num") for n in range(40)]}), Slow())
print(store.take(np.arange(40))[:, 0].tolist() == list(range(40)))
"""


def test_two_processes_building_at_once_both_get_the_whole(tmp_path: Path) -> None:
    table(tmp_path / "data", 40)
    (tmp_path / "ready").mkdir()
    command = [sys.executable, "-c", BUILD, str(tmp_path / "data"), str(tmp_path / "ready")]
    runs = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in "ab"]
    assert [run.communicate(timeout=60)[0].strip() for run in runs] == ["True", "True"]
    assert len(list((cache_dir() / "decoded").iterdir())) == 1
