from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ragged_toys import BatchedPipeline, NumbersPipeline, texts

from zoo.data.dataset import Table
from zoo.data.ragged import ragged
from zoo.data.store import LiveStore, RaggedStore, build_store
from zoo.padding import padded
from zoo.paths import cache_dir
from zoo_registry.errors import DataError, PluginError

LENGTHS = [3, 1, 4, 1, 5, 9, 2, 6]
BYTES = sum(LENGTHS) * 2 * 4


@pytest.fixture(params=[NumbersPipeline, BatchedPipeline])
def pipeline(request: pytest.FixtureRequest) -> NumbersPipeline:
    return request.param()


@given(st.lists(st.lists(st.integers(-9, 9), max_size=6), max_size=8), st.data())
def test_rows_are_what_they_were_and_padded_at_the_end(lists: list[list[int]], data: st.DataObject) -> None:
    rows = ragged(lists, np.int64, fill=-100)
    assert len(rows) == len(lists)
    assert rows.lengths.tolist() == [len(one) for one in lists]
    chosen = data.draw(st.lists(st.integers(0, len(lists) - 1)) if lists else st.just([]))
    assert [row.tolist() for row in rows.each(chosen)] == [lists[i] for i in chosen]
    longest = max((len(lists[i]) for i in chosen), default=0)
    taken = rows.take(np.array(chosen, dtype=np.int64))
    assert taken.shape == (len(chosen), longest)
    assert taken.tolist() == [lists[i] + [-100] * (longest - len(lists[i])) for i in chosen]


def test_padding_keeps_shape_and_dtype() -> None:
    out = padded([np.ones((1, 2), np.int32), np.ones((3, 2), np.int32)], (2,), np.int32)
    assert out.dtype == np.int32
    assert out.tolist() == [[[1, 1], [0, 0], [0, 0]], [[1, 1]] * 3]
    assert padded([], (2,), np.int32).shape == (0, 0, 2)


@pytest.mark.parametrize("limit", [None, 0, BYTES - 1])
def test_a_store_gives_rows_lengths_and_padding(pipeline: NumbersPipeline, limit: int | None) -> None:
    store = build_store(texts(LENGTHS), pipeline, cache_limit=limit)
    assert isinstance(store, RaggedStore if limit is None else LiveStore)
    assert store.lengths is not None
    assert store.lengths.dtype == np.int64
    assert store.lengths.tolist() == LENGTHS
    taken = store.take(np.array([5, 0, 3, 5]))
    assert taken.shape == (4, 9, 2)
    assert taken.dtype == np.int32
    assert type(taken) is np.ndarray
    assert taken.flags.writeable
    assert taken[:, :, 0].tolist() == [[6] * 9, [1] * 3 + [0] * 6, [4] + [0] * 8, [6] * 9]
    assert taken[1, :3, 1].tolist() == [0, 1, 2]
    assert store.take(np.array([1])).shape == (1, 1, 2)  # no longer than its own rows
    assert store.take(np.array([], dtype=np.int64)).shape == (0, 0, 2)
    assert [len(row) for row in store.each(range(8))] == LENGTHS


def test_the_second_run_decodes_nothing(pipeline: NumbersPipeline) -> None:
    first = build_store(texts(LENGTHS), pipeline)
    assert pipeline.decoded == 8
    second = build_store(texts(LENGTHS), pipeline)
    assert pipeline.decoded == 8
    assert second.key == first.key
    assert np.array_equal(first.take(np.arange(8)), second.take(np.arange(8)))
    assert not second.each([0])[0].flags.writeable


def test_both_ways_to_decode_share_a_cache_and_chunks_are_bounded() -> None:
    table = texts([2] * 2500)
    together, alone = BatchedPipeline(), NumbersPipeline()
    store = build_store(table, together)
    assert together.sizes == [1024, 1024, 452]
    assert build_store(table, alone).key == store.key
    assert alone.decoded == 0


@pytest.mark.parametrize("limit", [None, 0])
def test_bad_and_empty_items_are_skipped_and_listed(pipeline: NumbersPipeline, limit: int | None) -> None:
    table = texts([2] * 40)
    table.columns["input"][3], table.columns["input"][7] = "no number", ""
    talk: list[str] = []
    for _ in range(2):  # built, then read back
        store = build_store(table, pipeline, cache_limit=limit, say=talk.append)
        assert store.kept.tolist() == [row for row in range(40) if row not in (3, 7)]
        assert store.bad == [("item 3", "'no number' holds no numbers"), ("item 7", "it is empty")]
        assert store.take(np.array([3]))[0, 0, 0] == 5
    assert "2 of 40" in talk[-1]
    table.columns["input"][8:12] = [""] * 4
    with pytest.raises(DataError, match="More than 5%"):
        build_store(table, pipeline, cache_limit=limit)


def test_a_limit_found_out_while_writing_leaves_nothing_and_is_remembered(pipeline: NumbersPipeline) -> None:
    talk: list[str] = []
    live = build_store(texts(LENGTHS), pipeline, cache_limit=BYTES - 1, say=talk.append)
    assert isinstance(live, LiveStore)
    assert "above the cache limit" in talk[0]
    assert [path.name for path in (cache_dir() / "decoded").iterdir()] == [f"{live.key}.survey.json"]
    pipeline.decoded = 0
    again = build_store(texts(LENGTHS), pipeline, cache_limit=BYTES - 1, say=talk.append)
    assert isinstance(again, LiveStore)
    assert pipeline.decoded == 0
    assert again.lengths is not None
    assert again.lengths.tolist() == LENGTHS
    whole = build_store(texts(LENGTHS), pipeline, cache_limit=BYTES)
    assert isinstance(whole, RaggedStore)
    assert whole.key == live.key
    assert np.array_equal(whole.take(np.arange(8)), live.take(np.arange(8)))


@pytest.mark.parametrize("damage", ["items cut", "items odd", "ends cut", "ends wrong", "ends gone", "index junk"])
def test_a_damaged_cache_is_built_again(pipeline: NumbersPipeline, damage: str) -> None:
    folder = cache_dir() / "decoded" / build_store(texts(LENGTHS), pipeline).key
    items, ends = folder / "items.bin", folder / "offsets.bin"
    if damage == "items cut":
        items.write_bytes(items.read_bytes()[:-8])
    elif damage == "items odd":
        items.write_bytes(items.read_bytes() + b"123")
    elif damage == "ends cut":
        ends.write_bytes(ends.read_bytes()[:-8])
    elif damage == "ends wrong":
        offsets = np.fromfile(ends, np.int64)
        offsets[2] = -5
        offsets.tofile(ends)
    elif damage == "ends gone":
        ends.unlink()
    else:
        (folder / "index.json").write_text('{"bad": 3}')
    pipeline.decoded = 0
    store = build_store(texts(LENGTHS), pipeline)
    assert pipeline.decoded == 8
    assert [row[0, 0] for row in store.each(range(8))] == list(range(1, 9))
    assert [path.name for path in folder.parent.iterdir() if not path.name.startswith(".")] == [folder.name]


@pytest.mark.parametrize("array", [np.zeros((3, 3), np.int32), np.zeros((3, 2), np.int64), np.zeros((), np.int32)])
def test_a_pipeline_that_breaks_its_word_is_named(array: np.ndarray) -> None:
    pipeline = NumbersPipeline()
    pipeline.decode = lambda item: array  # type: ignore[method-assign]
    with pytest.raises(PluginError, match="declares items of"):
        build_store(texts([1]), pipeline)


@pytest.mark.parametrize("limit", [None, 0])
def test_a_bug_among_many_items_is_not_taken_for_bad_data(limit: int | None) -> None:
    pipeline = BatchedPipeline()
    pipeline._attempt = lambda item: ZeroDivisionError("a bug")  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        build_store(texts([1]), pipeline, cache_limit=limit)


def test_an_item_that_stops_decoding_is_an_error(tmp_path: Path) -> None:
    table = Table({"input": ["1 2", "3"]})
    store = build_store(table, BatchedPipeline(), cache_limit=0)
    table.columns["input"][1] = "changed"
    with pytest.raises(DataError, match="holds no numbers"):
        store.take(np.array([1]))
