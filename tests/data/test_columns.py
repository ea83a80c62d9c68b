from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zoo.data.columns import Columns, recognise, split_named
from zoo.data.labels import class_names, decide_task, natural_key
from zoo.data.tables import RawTable
from zoo_registry.errors import DataError

N = 12
PATHS = [f"img/{i}.png" for i in range(N)]
TEXTS = [f"a sentence of words, number {i}" for i in range(N)]
KINDS = ["cat", "dog"] * (N // 2)


def find(columns: dict[str, list[Any]], modality: str = "image", folder: Path = Path(), **overrides: str) -> Columns:
    table = RawTable(Path("t.csv"), columns, list(range(2, N + 2)))
    return recognise(table, modality=modality, overrides=overrides, bases=[folder])


@pytest.mark.parametrize("source", ["image", "Image Path", "FILENAME", "file_name", "img", "path", "photo_file", "zzz"])
@pytest.mark.parametrize("label", ["label", "Class", "category", "target", "y", "true_label", "breed", "qqq"])
@pytest.mark.parametrize("swap", [False, True])
def test_usual_names_and_else_the_content_tell(source: str, label: str, swap: bool) -> None:
    columns: dict[str, list[Any]] = {source: PATHS, label: KINDS, "id": [str(i) for i in range(N)]}
    found = find(dict(reversed(columns.items())) if swap else columns)
    assert (found.input, found.labels, found.split) == (source, (label,), None)


@pytest.mark.parametrize("source", ["text", "sentence", "Review", "tweet_text", "zzz"])
def test_text_columns(source: str) -> None:
    columns = {"id": [str(i) for i in range(N)], "note": ["x y"] * N, source: TEXTS, "sentiment": KINDS}
    assert find(columns, "text").input == source


def test_existing_files_tell_without_names_or_endings(tmp_path: Path) -> None:
    for number in range(N):
        (tmp_path / f"scan{number}").write_text("x")
    found = find({"a": KINDS, "b": [f"scan{i}" for i in range(N)]}, folder=tmp_path)
    assert (found.input, found.labels) == ("b", ("a",))


def test_a_telling_name_without_the_content_loses() -> None:
    assert find({"image": ["1"] * N, "source": PATHS, "label": KINDS}).input == "source"


def test_a_split_column_is_one_only_if_its_values_are_splits() -> None:
    splits = ["train"] * 8 + ["VAL"] * 2 + ["test"] * 2
    assert find({"path": PATHS, "label": KINDS, "Split": splits}).split == "Split"
    assert find({"path": PATHS, "label": KINDS, "fold": [str(i % 3) for i in range(N)]}).split is None


def test_overrides_win_and_are_not_called_guesses() -> None:
    columns = {"path": PATHS, "label": KINDS, "other": PATHS, "kind": KINDS}
    found = find(columns, input="other", label="kind")
    assert (found.input, found.labels, found.guessed) == ("other", ("kind",), "")
    assert "label = label" in find(columns, input="other").guessed
    assert "input" not in find(columns, input="other").guessed


def test_two_columns_that_could_be_the_label_are_not_guessed_between() -> None:
    with pytest.raises(DataError, match="'path', 'a', 'b'"):
        find({"path": PATHS, "a": KINDS, "b": ["x", "y", "z"] * 4})


names = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=10)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), modality=st.sampled_from(["image", "text", "audio", "smell"]))
def test_any_table_gives_columns_that_exist_or_a_clear_error(data: st.DataObject, modality: str) -> None:
    value = st.one_of(st.none(), st.text(max_size=5), st.integers(), st.floats(), st.lists(st.integers(), max_size=2))
    headers = data.draw(st.lists(names, min_size=1, max_size=5, unique=True))
    columns = {name: data.draw(st.lists(value, min_size=N, max_size=N)) for name in headers}
    try:
        found = find(columns, modality)
    except DataError as error:
        used, complaint = headers, error.problem
    else:
        used, complaint = [found.input, *found.labels, *filter(None, [found.split])], ", ".join(map(repr, headers))
    assert all(repr(name) in complaint for name in headers)
    assert set(used) <= set(headers)
    assert len(set(used)) == len(used)


def test_split_names() -> None:
    assert [split_named(name) for name in ("Train", "dev", " validation ", "TEST", "extra")] == [
        "train", "val", "val", "test", None,
    ]  # fmt: skip


def test_natural_order() -> None:
    shuffled = ["b", "a10", "A2", "10", "9", "a2b", "²"]
    assert sorted(shuffled, key=natural_key) == ["9", "10", "A2", "a2b", "a10", "b", "²"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=6), max_size=6))
def test_natural_order_is_total(values: list[str]) -> None:
    ordered = sorted(values, key=natural_key)
    values.reverse()
    assert sorted(values, key=natural_key) == ordered


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.none(), st.text(max_size=6), st.floats(), st.integers(), st.booleans()), max_size=6))
def test_every_list_of_values_has_a_task(values: list[Any]) -> None:
    assert decide_task(values) in {"classification", "multi-label", "regression"}


def test_multi_label_values() -> None:
    assert class_names(["b", "a", "b"]) == ["b", "a"]
    assert class_names("a| b ||a") == ["a", "b"]
    assert class_names([]) == []
    assert class_names(3.0) == ["3"]
