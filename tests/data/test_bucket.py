from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ragged_toys import lengths_like_sentences

from zoo.data.bucket import MEGA, by_length, longest_first, padding_share, token_cuts
from zoo.data.draws import permutation

SOME_LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=300)


def slow_by_length(order: list[int], lengths: list[int], size: int) -> list[list[int]]:
    batches = []
    full = order[: len(order) - len(order) % size]
    while full:
        mega, full = full[: MEGA * size], full[MEGA * size :]
        mega = sorted(mega, key=lambda row: lengths[row])
        while mega:
            batches.append(mega[:size])
            mega = mega[size:]
    return batches


@given(SOME_LENGTHS, st.integers(1, 9), st.integers(0, 5))
def test_by_length_equals_the_obvious_way(lengths: list[int], size: int, seed: int) -> None:
    order = permutation(seed, 0, len(lengths))
    found = by_length(order, np.array(lengths), size)
    assert [batch.tolist() for batch in found] == slow_by_length(order.tolist(), lengths, size)


@given(SOME_LENGTHS, st.integers(1, 200), st.integers(0, 5))
def test_token_batches_fit_and_hold_every_row_once(lengths: list[int], tokens: int, seed: int) -> None:
    array = np.array(lengths)
    order = longest_first(permutation(seed, 0, len(lengths)), array)
    cuts = token_cuts(array[order], tokens)
    batches = np.split(order, cuts)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) >= 1
        assert len(batch) == 1 or len(batch) * array[batch].max() <= tokens
    assert np.array_equal(cuts, token_cuts(np.sort(array)[::-1], tokens))  # whatever the order: the same each epoch
    if len(batches) > 1:
        assert 2 * len(batches[-1]) + 1 >= len(batches[-2])  # no tiny rest


def test_token_batches_are_as_full_as_they_can_be() -> None:
    assert token_cuts(np.array([10, 10, 5, 5, 5, 5, 2, 2, 2, 2]), 20).tolist() == [2, 6]
    assert token_cuts(np.array([10, 10, 5, 5, 5, 5, 2, 2]), 20).tolist() == [2, 5]  # the small rest is shared
    assert token_cuts(np.array([50, 1, 1, 1]), 20).tolist() == [1]
    assert token_cuts(np.array([4, 4, 4, 4, 4]), 16).tolist() == [3]
    assert token_cuts(np.array([7]), 3).tolist() == []


def test_padding_is_what_padding_takes() -> None:
    lengths = np.array([1, 3, 2, 2])
    assert padding_share(lengths, [np.array([0, 1]), np.array([2, 3])]) == pytest.approx(0.2)
    assert padding_share(lengths, [np.array([1])]) == 0


def test_most_padding_of_sentences_goes() -> None:
    lengths = lengths_like_sentences(20_000)
    order = permutation(0, 0, len(lengths))
    plain = padding_share(lengths, np.split(order, range(32, len(order), 32)))
    assert plain > 0.4
    assert padding_share(lengths, by_length(order, lengths, 32)) < 0.06
    sorted_rows = longest_first(order, lengths)
    assert padding_share(lengths, np.split(sorted_rows, token_cuts(lengths[sorted_rows], 512))) < 0.03
