"""Windows of long contexts: everything is covered, answers lie where their targets say, in characters."""

from __future__ import annotations

import pickle
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from text_toys import WORDS, write_byte_level, write_tokenizer

from zoo.data.dataset import Table
from zoo.data.items import identity
from zoo.protocols import Cuts, Expands, Portable
from zoo.texts import TextTokenizer
from zoo.windows import OVERLAP, Window, decode_window, spans, window_rows
from zoo_registry.errors import DataError, UsageError
from zoo_registry.specs import InputSpec
from zoo_text.pipeline import text_pipeline
from zoo_text.windows import WindowView, qa_view

CONTEXT = "the cat sat on mat . dog ran far away . good film bad film . a b c d e f g h i j x y z 0 1 2 3"


def view_of(folder: Path, length: int, write: Any = write_tokenizer) -> WindowView:
    return qa_view(text_pipeline(InputSpec(modality="text", size=(length,), assets=str(write(folder / "assets")))))


def asked(context: str, *answers: str, question: str = "cat ran") -> Table:
    label = [{"text": text, "start": context.index(text)} for text in answers]
    return Table({"input": [{"id": "1", "question": question, "context": context}], "label": [label]})


@given(st.integers(1, 3000), st.integers(1, 600))
def test_parts_cover_every_token_and_overlap(length: int, room: int) -> None:
    found = list(spans(length, room))
    assert found[0][0] == 0
    assert found[-1][1] == length
    assert all(0 < stop - first <= room for first, stop in found)
    for (_, stop), (first, _) in pairwise(found):
        assert stop - first == min(OVERLAP, room // 3)


def test_a_short_context_is_one_window_as_the_text_pipeline_has_it(tmp_path: Path) -> None:
    view = view_of(tmp_path, 64)
    table = view.rows(asked("the cat sat", "cat sat"))
    (window,) = table.columns["input"]
    array, plain = view.decode(window), view.pipeline.decode(("cat ran", "the cat sat"))
    assert (array[:, :2] == plain[:, :2]).all()
    assert array.dtype == np.int32
    assert array[:, 2].tolist() == [-1, -1, -1, -1, 0, 1, 2, -1]  # [CLS] cat ran [SEP] the cat sat [SEP]
    assert table.columns["label"] == [(5, 6)]
    assert table.columns["owner"] == [0]


@pytest.mark.parametrize(("write", "length"), [(write_tokenizer, 20), (write_byte_level, 40)])
@pytest.mark.parametrize("answer", ["cat", "ran far", "x y z", "3"])
def test_targets_lead_back_to_the_answer(tmp_path: Path, write: Any, length: int, answer: str) -> None:
    view = view_of(tmp_path, length, write)
    table = view.rows(asked(CONTEXT, answer))
    targets = 0
    for window, label in zip(table.columns["input"], table.columns["label"], strict=True):
        array = view.decode(window)
        assert len(array) <= length
        if label != (0, 0):
            first, last = (array[place, 2] for place in label)
            start, end = window.tokens.offsets[first, 0], window.tokens.offsets[last, 1]
            assert CONTEXT[start:end].strip() == answer
            targets += 1
    assert targets >= 1
    assert len(table) > 1
    assert table.columns["truth"] == [[{"text": answer, "start": CONTEXT.index(answer)}]] * len(table)


def test_an_answer_across_the_end_of_a_window_is_in_the_next(tmp_path: Path) -> None:
    view = view_of(tmp_path, 16)  # room for 11 tokens of the context, 3 of them shared
    table = view.rows(asked(CONTEXT, "away . good"))
    found = [(w.first, w.stop, label) for w, label in zip(*map(table.columns.get, ("input", "label")), strict=True)]
    assert found[0] == (0, 11, (0, 0))  # "away" is its last token but one
    assert found[1] == (8, 19, (5, 7))
    assert [label for *_, label in found[2:]] == [(0, 0)] * (len(found) - 2)


def test_places_are_characters_whatever_the_script(tmp_path: Path) -> None:
    context = "Ünïcödé 😀😀 東京 e\u0301 cat हिन्दी dog"
    view = view_of(tmp_path, 64)
    for answer in ("cat", "dog", "😀😀", "हिन्दी"):
        table = view.rows(asked(context, answer))
        ((first, last),) = table.columns["label"]
        (window,) = table.columns["input"]
        shown = window.decode()[[first, last], 2]
        assert context[window.tokens.offsets[shown[0], 0] : window.tokens.offsets[shown[1], 1]] == answer


def test_no_answer_has_the_first_token_as_target(tmp_path: Path) -> None:
    table = view_of(tmp_path, 64).rows(asked("the cat sat"))
    assert table.columns["label"] == [(0, 0)]
    assert table.columns["truth"] == [[]]


def test_the_first_answer_that_lies_in_the_window_counts(tmp_path: Path) -> None:
    view = view_of(tmp_path, 16)
    table = view.rows(asked(CONTEXT, "x y z", "cat"))
    assert table.columns["label"][0] == (5, 5)
    assert (0, 0) not in (table.columns["label"][0], table.columns["label"][-1])


def test_a_long_question_is_cut_and_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    view = view_of(tmp_path, 20)
    table = view.rows(asked("the cat sat", "cat", question=" ".join(WORDS[:15])))
    assert "1 of 1 questions are longer than 10 tokens" in capsys.readouterr().err
    (window,) = table.columns["input"]
    assert (window.decode()[:, 1] == 0).sum() == 12
    assert table.columns["label"] == [(13, 13)]


def test_rows_without_labels_and_pairs(tmp_path: Path) -> None:
    table = view_of(tmp_path, 64).rows(Table({"input": [("cat", "the cat sat"), ("dog", "dog ran")]}))
    assert set(table.columns) == {"input", "owner"}
    assert table.columns["owner"] == [0, 1]


def test_bad_items_say_why_when_they_are_decoded(tmp_path: Path) -> None:
    view = view_of(tmp_path, 64)
    bad = ["cat", ("cat", ""), {"question": " ", "context": "cat"}, {"question": None, "context": "cat"}, 3]
    bad += [("cat", "lone \ud800 surrogate")]
    table = view.rows(Table({"input": [("cat", "the cat"), *bad], "label": [[]] * 7}))
    assert len(table) == 7
    assert table.columns["owner"] == list(range(7))
    assert isinstance(table.columns["input"][0], Window)
    for item, found in zip(bad, view.decode_batch(table.columns["input"])[1:], strict=True):
        assert isinstance(found, DataError)
        with pytest.raises(DataError):
            decode_window(item)


def test_an_input_too_short_for_a_context(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no room"):
        view_of(tmp_path, 5)
    view_of(tmp_path / "more", 7)


def test_windows_key_caches_and_travel(tmp_path: Path) -> None:
    view = view_of(tmp_path, 16)
    one, again = (view.rows(asked(CONTEXT, "cat")).columns["input"] for _ in range(2))
    keys = [identity(window, "text") for window in one]
    assert keys == [identity(window, "text") for window in again]
    assert len(set(keys)) == len(keys)
    copy = pickle.loads(pickle.dumps(one[1]))
    assert copy == one[1]
    assert (copy.decode() == one[1].decode()).all()
    assert view.key != view.pipeline.key


def test_the_view_offers_what_it_should(tmp_path: Path) -> None:
    view = view_of(tmp_path, 16)
    assert isinstance(view, Expands)
    assert isinstance(view, Portable)
    assert not isinstance(view, Cuts)  # windows lose nothing


def test_serving_needs_no_torch(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path / "assets")
    program = f"""
import sys
from zoo.data.dataset import Table
from zoo.kinds import spans, tokens
from zoo.texts import open_tokenizer
from zoo.windows import window_rows
from zoo.words import as_words
print(len(window_rows(Table({{"input": [("cat", "the cat")]}}), open_tokenizer({str(folder)!r}, 16))))
assert not {{"torch", "transformers", "nervaluate", "zoo_text", "torchmetrics"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr


def test_rows_of_a_table_share_their_tokens(tmp_path: Path) -> None:
    view = view_of(tmp_path, 16)
    assert isinstance(view.tokens, TextTokenizer)
    items = [(question, CONTEXT) for question in ("cat", "dog", "film")]
    windows = window_rows(Table({"input": items}), view.tokens).columns["input"]
    assert len({id(window.tokens) for window in windows}) == 1
