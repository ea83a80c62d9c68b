from __future__ import annotations

import errno
import tracemalloc
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.data import blocks as blocks_module
from zoo.data import folder_cache
from zoo.data.blocks import blocks, build_stream, documents
from zoo.paths import cache_dir
from zoo_registry.errors import DataError

END = 0


def packed(texts: Sequence[str]) -> list[list[np.ndarray]]:
    """A letter a token, and one that ends the text; nothing for an empty text."""
    return [[np.array([*map(ord, text), END], np.int32)] if text else [] for text in texts]


def cut_in_threes(texts: Sequence[str]) -> list[list[np.ndarray]]:
    return [[np.array([*map(ord, text[i : i + 3])], np.int32) for i in range(0, len(text), 3)] for text in texts]


@given(st.lists(st.text("abc", max_size=9), max_size=30), st.integers(1, 7))
def test_blocks_are_the_stream_cut(texts: list[str], length: int) -> None:
    folder = build_stream(iter(texts), packed, key=repr(texts))
    stream = [token for text in texts if text for token in [*map(ord, text), END]]
    rows = blocks(folder, length)
    assert len(rows) == len(stream) // length
    assert rows.lengths is None
    taken = rows.take(np.arange(len(rows))[::-1])
    assert taken.dtype == np.int32
    assert taken.shape == (len(rows), length)
    assert taken[::-1].ravel().tolist() == stream[: len(rows) * length]


@given(st.lists(st.text("abc", max_size=9), max_size=30))
def test_documents_are_the_pieces_but_for_single_tokens(texts: list[str]) -> None:
    rows = documents(build_stream(iter(texts), cut_in_threes, key=f"threes {texts!r}"))
    pieces = [text[i : i + 3] for text in texts for i in range(0, len(text), 3)]
    expected = [[*map(ord, piece)] for piece in pieces if len(piece) > 1]
    assert [row.tolist() for row in rows.each(range(len(rows)))] == expected
    assert rows.lengths.tolist() == [len(row) for row in expected]
    if expected:
        assert rows.take(np.array([0, len(rows) - 1])).shape == (2, max(len(expected[0]), len(expected[-1])))


def test_a_stream_is_made_once() -> None:
    calls: list[int] = []

    def counted(texts: Sequence[str]) -> list[list[np.ndarray]]:
        calls.append(len(texts))
        return packed(texts)

    folder = build_stream(["ab"] * 2500, counted, key="one")
    assert calls == [1024, 1024, 452]
    assert build_stream(iter(()), counted, key="one") == folder
    assert len(calls) == 3
    assert build_stream(["ab"], counted, key="two") != folder


@pytest.mark.parametrize("name", ["items.bin", "offsets.bin", "index.json"])
def test_a_damaged_stream_is_made_again(name: str) -> None:
    folder = build_stream(["abc"], packed, key="one")
    (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    with pytest.raises(DataError, match="damaged"):
        blocks(folder, 2)
    assert blocks(build_stream(["abc"], packed, key="one"), 4).take(np.array([0])).tolist() == [[97, 98, 99, 0]]


def test_a_failure_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Iterator[str]:
        yield "abc"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_stream(broken(), packed, key="one")
    assert list((cache_dir() / "streams").iterdir()) == []

    def full(path: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder_cache, "sync", full)
    with pytest.raises(DataError, match="No space left") as caught:
        build_stream(["abc"], packed, key="one")
    assert caught.value.exit_code == 6
    assert list((cache_dir() / "streams").iterdir()) == []


def test_memory_stays_bounded_whatever_the_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "CHARACTERS", 1 << 16)

    def corpus() -> Iterator[str]:
        for number in range(4000):
            yield "x" * (2000 + number % 7)

    def quick(texts: Sequence[str]) -> list[list[np.ndarray]]:
        return [[np.zeros(len(text), np.int32)] for text in texts]

    tracemalloc.start()
    try:
        folder = build_stream(corpus(), quick, key="big")
        rows = blocks(folder, 128)
        rows.take(np.arange(64))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (folder / "items.bin").stat().st_size > 32e6
    assert peak < 2e6
