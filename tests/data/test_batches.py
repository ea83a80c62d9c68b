from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from zoo.data.batches import Eval, Train, label_array
from zoo.data.dataset import DataSet, Table
from zoo.data.draws import HashDraws
from zoo.data.store import Store, build_store
from zoo_registry.errors import UsageError


def numbers(folder: Path, count: int) -> Table:
    for number in range(count):
        (folder / f"{number}.num").write_text(str(number))
    return Table({"input": [str(folder / f"{number}.num") for number in range(count)]})


@pytest.fixture
def store(tmp_path: Path, pipeline) -> Store:
    return build_store(numbers(tmp_path, 10), pipeline)


@pytest.fixture
def labels() -> np.ndarray:
    return np.arange(10, dtype=np.int64) * 11


def rows_of(batches) -> list[list[int]]:  # type: ignore[no-untyped-def]
    return [batch["index"].tolist() for batch in batches]


def test_each_epoch_is_full_batches_of_different_samples(store, labels, pipeline) -> None:
    train = Train(store, labels, pipeline, batch_size=4, seed=0)
    assert (train.samples, train.steps_per_epoch) == (10, 2)
    steps = rows_of(train.stream(0, 120))
    for epoch in range(60):
        seen = steps[2 * epoch] + steps[2 * epoch + 1]
        assert len(set(seen)) == 8
    left_out = [set(range(10)) - set(steps[2 * e] + steps[2 * e + 1]) for e in range(60)]
    assert set().union(*left_out) == set(range(10))
    assert steps[:2] != steps[2:4]


def test_batches_hold_what_their_index_says(store, labels, pipeline) -> None:
    for batch in Train(store, labels, pipeline, batch_size=4, seed=0).stream(0, 3):
        assert set(batch) == {"number", "label", "index"}
        assert batch["index"].dtype == torch.int64
        assert batch["number"].dtype == torch.uint8
        assert torch.equal(batch["number"][:, 0, 0, 0].long(), batch["index"])
        assert torch.equal(batch["label"], batch["index"] * 11)


def test_a_stream_continues_where_another_was_cut(store, labels, pipeline) -> None:
    train = Train(store, labels, pipeline, batch_size=3, seed=5)
    whole = rows_of(train.stream(0, 9))
    assert rows_of(train.stream(4, 9)) == whole[4:]
    assert rows_of(Train(store, labels, pipeline, batch_size=3, seed=6).stream(0, 9)) != whole


def test_ranks_share_the_global_batch(store, labels, pipeline) -> None:
    train = Train(store, labels, pipeline, batch_size=5, seed=5)
    whole = rows_of(train.stream(0, 2))
    shares = [rows_of(train.stream(0, 2, rank, 2)) for rank in range(2)]
    assert [shares[0][step] for step in range(2)] == [rows[0::2] for rows in whole]
    assert [shares[1][step] for step in range(2)] == [rows[1::2] for rows in whole]
    with pytest.raises(UsageError, match="shared by 6"):
        next(train.stream(0, 1, 5, 6))


def test_fewer_samples_than_the_batch_make_one_batch_an_epoch(store, labels, pipeline) -> None:
    train = Train(store, labels, pipeline, batch_size=64, seed=0)
    assert train.steps_per_epoch == 1
    assert [sorted(rows) for rows in rows_of(train.stream(0, 2))] == [list(range(10))] * 2


def test_transform_does_not_depend_on_the_batch(store, labels, pipeline) -> None:
    train = Train(store, labels, pipeline, batch_size=10, seed=3)
    batch = next(train.stream(0, 1))
    whole = train.transform(batch, 2)["number"]
    part = train.transform({key: value[4:6] for key, value in batch.items()}, 2)["number"]
    assert torch.equal(part, whole[4:6])
    noise = HashDraws(3, 2, batch["index"]).uniform("noise", 1)[:, 0]
    assert torch.equal(whole[:, 0, 0, 0], batch["index"].float() + noise)
    assert not torch.equal(train.transform(batch, 3)["number"], whole)


@pytest.mark.parametrize("world", [1, 3])
def test_eval_gives_every_row_once_and_in_order(store, labels, pipeline, world: int) -> None:
    evaluation = Eval(store, labels, pipeline, batch_size=2)
    for rank in range(world):
        assert [row for rows in rows_of(evaluation.stream(rank, world)) for row in rows] == list(range(rank, 10, world))
    batch = next(evaluation.stream())
    assert torch.equal(evaluation.transform(batch)["number"], batch["number"].float())


def test_closing_a_stream_ends_its_thread(store, labels, pipeline) -> None:
    stream = Train(store, labels, pipeline, batch_size=2, seed=0).stream(0, 10**9)
    next(stream)
    assert any(thread.name == "zoo-prefetch" for thread in threading.enumerate())
    stream.close()  # type: ignore[attr-defined]
    assert not any(thread.name == "zoo-prefetch" for thread in threading.enumerate())


def test_the_thread_runs_at_most_two_batches_ahead(store, labels, pipeline) -> None:
    taken: list[int] = []
    take = store.take
    store.take = lambda rows: taken.append(1) or take(rows)
    stream = Train(store, labels, pipeline, batch_size=2, seed=0).stream(0, 100)
    next(stream)
    time.sleep(0.3)
    assert 2 <= len(taken) <= 4  # one used, two waiting, one in the thread's hand
    stream.close()  # type: ignore[attr-defined]


def test_an_exception_while_reading_reaches_the_caller(store, labels, pipeline) -> None:
    def vanish(rows: np.ndarray) -> np.ndarray:
        raise OSError("the disk went away")

    store.take = vanish
    with pytest.raises(OSError, match="went away"):
        next(Eval(store, labels, pipeline, batch_size=2).stream())


def test_labels_that_do_not_fit_the_store_are_refused(store, labels, pipeline) -> None:
    with pytest.raises(ValueError, match="9 labels for 10 items"):
        Train(store, labels[:9], pipeline, batch_size=2, seed=0)
    with pytest.raises(UsageError):
        Eval(store, labels, pipeline, batch_size=0)


def dataset(task: str, values: list[object], names: tuple[str, ...]) -> DataSet:
    table = Table({"input": ["x"] * len(values), "label": values})
    return DataSet("d", "o", "number", task, {"train": table}, names, "f")


def test_label_arrays_follow_the_task() -> None:
    ids = label_array(dataset("classification", [1, 0, 1], ("a", "b")), "train", np.array([0, 2]))
    assert (ids.dtype, ids.tolist()) == (np.int64, [1, 1])
    hot = label_array(dataset("multi-label", [[0, 2], [], [1]], ("a", "b", "c")), "train", [0, 1, 2])
    assert (hot.dtype, hot.tolist()) == (np.float32, [[1, 0, 1], [0, 0, 0], [0, 1, 0]])
    values = label_array(dataset("regression", [0.5, 2.0], ()), "train", [1])
    assert (values.dtype, values.tolist()) == (np.float32, [2.0])
