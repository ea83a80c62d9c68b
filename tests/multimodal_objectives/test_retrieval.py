from __future__ import annotations

import numpy as np
import pytest

from zoo import retrieval
from zoo.retrieval import ranks, recalls


def slow(first: np.ndarray, second: np.ndarray, groups: np.ndarray) -> tuple[list[int], list[int]]:
    """One item at a time, in order of first occurrence."""

    def one_way(a: int, b: int) -> list[int]:
        sides = (first, second)
        found = []
        for query in dict.fromkeys(groups[:, a]):
            row = list(groups[:, a]).index(query)
            right = {groups[i, b] for i in range(len(groups)) if groups[i, a] == query}
            scores = {
                item: float(sides[a][row] @ sides[b][list(groups[:, b]).index(item)])
                for item in dict.fromkeys(groups[:, b])
            }
            best = max(scores[item] for item in right)
            found.append(1 + sum(score >= best for item, score in scores.items() if item not in right))
        return found

    return one_way(0, 1), one_way(1, 0)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("chunk", [3, 1024])
def test_ranks_equal_a_slow_reference(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "CHUNK", chunk)
    random = np.random.default_rng(0)
    for case in range(20):
        pictures, captions = random.integers(0, 9, 17) * 7 - 20, random.integers(0, 12, 17)
        tables = unit(random.normal(size=(9, 4))), unit(random.normal(size=(12, 4)))
        first, second = tables[0][(pictures + 20) // 7], tables[1][captions]
        groups = np.stack([pictures, captions], axis=1)
        found = ranks(first, second, groups)
        wanted = slow(first, second, groups)
        assert [side.tolist() for side in found] == list(wanted), case


def test_recalls_of_pairs_that_all_differ() -> None:
    random = np.random.default_rng(1)
    first = unit(random.normal(size=(30, 8)))
    second = unit(first + 0.5 * random.normal(size=(30, 8)))
    found = recalls(first, second, ks=(1, 5))
    order = np.argsort(-(first @ second.T), axis=1)
    assert found["image_to_text_recall_at_1"] == pytest.approx(np.mean(order[:, 0] == np.arange(30)))
    order = np.argsort(-(second @ first.T), axis=1)[:, :5]
    assert found["text_to_image_recall_at_5"] == pytest.approx(np.mean((order == np.arange(30)[:, None]).any(axis=1)))
    values = [value for name, value in found.items() if name != "mean_recall"]
    assert len(values) == 4
    assert found["mean_recall"] == pytest.approx(np.mean(values))


def test_vectors_that_say_nothing_find_nothing() -> None:
    same = unit(np.ones((20, 3)))
    assert recalls(same, same)["mean_recall"] == 0
    none = np.full((20, 3), np.nan)
    assert recalls(none, none)["mean_recall"] == 0


def test_an_item_in_several_rows_asks_and_is_found_once() -> None:
    eye = unit(np.eye(3))
    first, second = eye[[0, 0, 1]], eye[[0, 2, 1]]
    found = recalls(first, second, np.array([[0, 0], [0, 1], [1, 2]]), ks=(1,), sides=("image", "audio"))
    assert found["image_to_audio_recall_at_1"] == 1.0
    assert found["audio_to_image_recall_at_1"] == pytest.approx(2 / 3)


def test_what_goes_not_together_is_refused() -> None:
    with pytest.raises(ValueError, match="no pairs"):
        ranks(np.zeros((2, 3)), np.zeros((3, 3)))
    with pytest.raises(ValueError, match="ids of shape"):
        ranks(np.zeros((2, 3)), np.zeros((2, 3)), np.zeros((3, 2)))
