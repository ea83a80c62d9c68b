from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ragged_toys import NumbersPipeline, lengths_like_sentences, texts

from zoo.data.batches import Eval, Labels, Train, label_array
from zoo.data.bucket import padding_share
from zoo.data.dataset import DataSet, Table
from zoo.data.ragged import RaggedRows, ragged
from zoo.data.store import Store, build_store
from zoo.features import ArrayStore
from zoo.protocols import IGNORE
from zoo_registry.errors import UsageError

LENGTHS = lengths_like_sentences(103, seed=4)
SIZES = [{"batch_size": 8}, {"batch_size": 8, "batch_tokens": 200}]


class Bare:
    """Rows of these lengths, all zeros."""

    def __init__(self, lengths: np.ndarray) -> None:
        self.lengths = lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, rows: np.ndarray) -> np.ndarray:
        return np.zeros((len(rows), int(self.lengths[rows].max())), np.int32)


def train_of(lengths: np.ndarray, seed: int = 3, **sizes: int) -> Train:
    return Train(Bare(lengths), np.zeros(len(lengths)), NumbersPipeline(), seed=seed, **sizes)


@pytest.fixture
def store() -> Store:
    return build_store(texts(LENGTHS), NumbersPipeline())


@pytest.mark.parametrize("sizes", SIZES)
def test_batches_hold_what_their_index_says_and_no_more_padding_than_needed(store: Store, sizes: dict) -> None:
    labels: Labels = ragged([[row] * (row % 4 + 1) for row in range(103)], np.int64, fill=IGNORE)
    train = Train(store, labels, NumbersPipeline(), seed=0, **sizes)
    evaluation = Eval(store, labels, NumbersPipeline(), **sizes)
    for batch in [*train.stream(0, train.steps_per_epoch), *evaluation.stream()]:
        assert set(batch) == {"numbers", "length", "label", "index"}
        assert batch["length"].dtype == batch["index"].dtype == batch["label"].dtype == torch.int64
        assert batch["length"].tolist() == LENGTHS[batch["index"].numpy()].tolist()
        assert batch["numbers"].shape == (len(batch["index"]), int(batch["length"].max()), 2)
        assert batch["label"].shape == (len(batch["index"]), max(row % 4 + 1 for row in batch["index"].tolist()))
        for row, index in enumerate(batch["index"].tolist()):
            length = int(LENGTHS[index])
            assert batch["numbers"][row, :, 0].tolist() == [index + 1] * length + [0] * (
                len(batch["numbers"][0]) - length
            )
            known = index % 4 + 1
            assert batch["label"][row].tolist() == [index] * known + [IGNORE] * (len(batch["label"][0]) - known)
        assert all(tensor.is_contiguous() for tensor in batch.values())


@given(st.lists(st.integers(1, 50), min_size=1, max_size=120), st.integers(1, 20), st.integers(0, 9))
def test_an_epoch_has_each_row_at_most_once(lengths: list[int], size: int, seed: int) -> None:
    train = train_of(np.array(lengths), seed=seed, batch_size=size)
    for epoch in range(2):
        first = epoch * train.steps_per_epoch
        batches = list(train.rows(first, first + train.steps_per_epoch))
        rows = np.concatenate(batches).tolist()
        assert len(rows) == len(set(rows)) == train.steps_per_epoch * min(size, len(lengths))


@given(st.lists(st.integers(1, 50), min_size=1, max_size=120), st.integers(1, 300), st.integers(0, 9))
def test_an_epoch_by_tokens_has_each_row_exactly_once(lengths: list[int], tokens: int, seed: int) -> None:
    train = train_of(np.array(lengths), seed=seed, batch_size=4, batch_tokens=tokens)
    for epoch in range(2):
        first = epoch * train.steps_per_epoch
        rows = np.concatenate(list(train.rows(first, first + train.steps_per_epoch)))
        assert sorted(rows.tolist()) == list(range(len(lengths)))


@pytest.mark.parametrize("sizes", SIZES)
def test_the_stream_goes_on_the_same_from_any_step(sizes: dict) -> None:
    train = train_of(LENGTHS, **sizes)
    total = 2 * train.steps_per_epoch + 3
    whole = [rows.tolist() for rows in train.rows(0, total)]
    for step in range(total):
        assert [rows.tolist() for rows in train_of(LENGTHS, **sizes).rows(step, total)] == whole[step:]
    assert [rows.tolist() for rows in train_of(LENGTHS, seed=4, **sizes).rows(0, total)] != whole


@pytest.mark.parametrize("sizes", SIZES)
def test_order_and_left_out_rows_change_from_epoch_to_epoch(sizes: dict) -> None:
    train = train_of(LENGTHS, **sizes)
    epochs = [
        [frozenset(rows.tolist()) for rows in train.rows(e * train.steps_per_epoch, (e + 1) * train.steps_per_epoch)]
        for e in range(12)
    ]
    assert len({tuple(epoch) for epoch in epochs}) == 12
    assert len({frozenset(epoch) for epoch in epochs}) == 12  # the batches themselves, not only their order
    longest = [max(range(len(epoch)), key=lambda step: LENGTHS[list(epoch[step])].max()) for epoch in epochs]
    assert len(set(longest)) > 3  # long batches come at any time
    assert len(set().union(*epochs[0])) == 103 if "batch_tokens" in sizes else 96


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_each_batch(sizes: dict, world: int) -> None:
    train = train_of(LENGTHS, **sizes)
    steps = train.steps_per_epoch + 1
    whole = [rows.tolist() for rows in train.rows(0, steps)]
    shares = [[rows.tolist() for rows in train.rows(0, steps, rank, world)] for rank in range(world)]
    for step in range(steps):
        for rank in range(world):
            assert shares[rank][step] == whole[step][rank::world]
            assert shares[rank][step]


def test_more_processes_than_a_batch_holds_are_refused() -> None:
    train = train_of(np.array([30, 30, 1, 1, 1, 1]), batch_size=4, batch_tokens=30)
    assert [len(rows) for rows in train.rows(0, 1)] in ([1], [4])
    with pytest.raises(UsageError, match="batch of 1 cannot be shared by 2") as caught:
        next(train.rows(0, 1, 0, 2))
    assert "--batch-tokens" in caught.value.remedy
    with pytest.raises(UsageError, match="batch of 4 cannot be shared by 5") as caught:
        next(train_of(np.array([30, 30, 1, 1, 1, 1]), batch_size=4).rows(0, 1, 0, 5))
    assert "--batch-size" in caught.value.remedy


def test_tokens_need_items_of_their_own_length_and_a_number() -> None:
    for store, tokens in [(ArrayStore(np.zeros((4, 3), np.int32)), 10), (Bare(np.ones(4, np.int64)), 0)]:
        with pytest.raises(UsageError):
            Train(store, np.zeros(4), NumbersPipeline(), batch_size=2, seed=0, batch_tokens=tokens)
        with pytest.raises(UsageError):
            Eval(store, np.zeros(4), NumbersPipeline(), batch_size=2, batch_tokens=tokens)


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=80),
    st.integers(1, 9),
    st.none() | st.integers(1, 200),
    st.integers(1, 3),
)
def test_evaluation_sees_every_row_once_longest_first(
    lengths: list[int], size: int, tokens: int | None, world: int
) -> None:
    array = np.array(lengths)
    evaluation = Eval(Bare(array), np.zeros(len(lengths)), NumbersPipeline(), batch_size=size, batch_tokens=tokens)
    seen: list[int] = []
    counts = []
    for rank in range(world):
        batches = list(evaluation.rows(rank, world))
        rows = np.concatenate([np.empty(0, np.int64), *batches])
        assert (np.diff(array[rows]) <= 0).all()
        for batch in batches:
            assert len(batch) <= (size if tokens is None else max(1, tokens // array[batch].max()))
        seen += rows.tolist()
        counts.append(len(rows))
    assert sorted(seen) == list(range(len(lengths)))
    assert max(counts) - min(counts) <= 1


def test_batches_of_like_lengths_save_most_padding() -> None:
    lengths = lengths_like_sentences(8000)
    for sizes in ({"batch_size": 32}, {"batch_size": 32, "batch_tokens": 1024}):
        train = train_of(lengths, **sizes)
        assert padding_share(lengths, train.rows(0, train.steps_per_epoch)) < 0.05


def test_labels_of_each_task() -> None:
    def labels(task: str, values: list) -> Labels:
        table = Table({"input": ["x"] * len(values), "label": values})
        return label_array(DataSet("d", "d", "text", task, {"train": table}, ("O", "B"), "f"), "train", [0, 2])

    tags = labels("token-classification", [[1, 0, 1], [0], [0]])
    assert isinstance(tags, RaggedRows)
    assert tags.take(np.array([0, 1])).tolist() == [[1, 0, 1], [0, IGNORE, IGNORE]]
    assert tags.take(np.array([1])).dtype == np.int64
    spans = labels("question-answering", [(1, 4), (0, 0), (2, 2)])
    assert isinstance(spans, np.ndarray)
    assert (spans.dtype, spans.tolist()) == (np.int64, [[1, 4], [2, 2]])
    for task, values, dtype in [
        ("embedding", [0, 0, 0], np.int64),
        ("embedding", [0.5, 0.0, 1], np.float32),
        ("generation", [0, 0, 0], np.int64),
    ]:
        found = labels(task, values)
        assert isinstance(found, np.ndarray)
        assert (found.dtype, found.shape) == (dtype, (2,))
