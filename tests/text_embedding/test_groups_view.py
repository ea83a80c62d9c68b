"""Texts side by side: against a loop that pads each text by hand."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from text_toys import INPUT, WORDS, write_tokenizer

from zoo.groups import encode_group, encode_groups, split_group
from zoo.padding import pad
from zoo_registry.errors import DataError
from zoo_text.groups_view import GroupsPipeline, groups_view, text_keys
from zoo_text.pipeline import text_pipeline


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> GroupsPipeline:
    folder = write_tokenizer(tmp_path_factory.mktemp("groups"))
    return groups_view(text_pipeline(dataclasses.replace(INPUT, size=(8,), assets=str(folder))))


def text(draw: random.Random, most: int = 12) -> str:
    return " ".join(draw.choice(WORDS[:30]) for _ in range(draw.randint(1, most)))


def batch_of(view: GroupsPipeline, items: list) -> dict[str, torch.Tensor]:
    padded, lengths = pad([view.decode(item) for item in items])
    return {"tokens": torch.from_numpy(padded), "length": torch.from_numpy(lengths), "index": torch.arange(len(items))}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_prepare_lays_texts_side_by_side(view: GroupsPipeline, count: int) -> None:
    draw = random.Random(count)
    items = [tuple(text(draw) for _ in range(count)) for _ in range(7)]
    made = view.prepare(batch_of(view, items))
    arrays = [[view.tokens.encode(one)[:, 0] for one in item] for item in items]
    longest = max(len(array) for group in arrays for array in group)
    assert made["input_ids"].shape == (7, count, longest)
    for row, group in enumerate(arrays):
        for place, array in enumerate(group):
            rest = longest - len(array)
            assert made["input_ids"][row, place].tolist() == [*array.tolist(), *[view.special.filler] * rest]
            assert made["attention_mask"][row, place].tolist() == [1] * len(array) + [0] * rest
    assert set(made) == {"input_ids", "attention_mask", "token_type_ids", "text_key", "index"}
    assert not made["token_type_ids"].any()


def test_a_text_is_cut_by_itself_and_counted(view: GroupsPipeline) -> None:
    long = " ".join(["cat"] * 20)
    array = view.decode(("a dog", long))
    assert [len(part) for part in split_group(array)] == [4, 8]
    assert view.count_cut([("a dog", long), "cat", (long, long, "a")]) == 2


@given(st.lists(st.lists(st.text(max_size=12), min_size=1, max_size=3).map(tuple), max_size=6))
@settings(max_examples=50, deadline=None)
def test_batches_decode_as_items_do(view: GroupsPipeline, items: list) -> None:
    for item, found in zip(items, encode_groups(view.tokens, items), strict=True):
        try:
            wanted = encode_group(view.tokens, item)
        except DataError:
            assert isinstance(found, DataError)
            continue
        assert isinstance(found, np.ndarray)
        assert np.array_equal(found, wanted)
        parts = split_group(found)
        assert all(np.array_equal(a, view.tokens.encode(b)) for a, b in zip(parts, item, strict=True))


@pytest.mark.parametrize("bad", [3, ["a", "b"], ("a", 3), (), ("a", " "), "", {"question": "a"}])
def test_what_is_no_group(view: GroupsPipeline, bad: object) -> None:
    with pytest.raises(DataError):
        view.decode(bad)
    assert isinstance(view.decode_batch([bad])[0], DataError)


def test_keys_are_equal_where_texts_are_whatever_the_padding(view: GroupsPipeline) -> None:
    draw = random.Random(3)
    items = [(text(draw, 3), text(draw, 3)) for _ in range(60)]
    keys = view.prepare(batch_of(view, items))["text_key"]
    words = [[tuple(view.tokens.encode(one)[:, 0]) for one in item] for item in items]
    for i in range(60):
        for j in range(60):
            assert bool(keys[i, 0] == keys[j, 1]) == (words[i][0] == words[j][1])
    ids, mask = torch.tensor([[5, 6, 0, 0]]), torch.tensor([[1, 1, 0, 0]])
    assert text_keys(ids, mask).item() == text_keys(ids[:, :2], mask[:, :2]).item()
    assert len({text_keys(torch.tensor([list(p)]), torch.ones(1, 3, dtype=torch.int64)).item()
                for p in [(1, 2, 3), (3, 2, 1), (2, 1, 3), (0, 2, 3), (2, 3, 1)]}) == 5  # fmt: skip


def test_the_cache_knows_the_view(view: GroupsPipeline) -> None:
    assert view.key != text_pipeline(view.input).key
    assert view.describe() == text_pipeline(view.input).describe()


def test_assets_come_along(view: GroupsPipeline, tmp_path: Path) -> None:
    view.save_assets(tmp_path / "model")
    assert (tmp_path / "model" / "tokenizer.json").is_file()
