from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.data.tags import entity_type, is_bio, to_bio
from zoo_registry.errors import DataError


def place(row: int, word: int) -> str:
    return f"f.conll:{10 * row + word}"


def chunks(tags: Sequence[str]) -> set[tuple[int, int, str]]:
    """Entities as the conlleval script finds them, rule by rule: (first word, word after the last, type)."""
    found, start = set(), None
    before, last = "O", ""
    for number, tag in enumerate([*tags, "O"]):
        prefix, _, kind = tag.partition("-")
        ends = before != "O" and (before in "ESLU" or prefix in "OBSU" or kind != last)
        starts = prefix != "O" and (prefix in "BSU" or before in "OESLU" or kind != last)
        if start is not None and ends:
            found.add((start, number, last))
            start = None
        if starts:
            start = number
        before, last = prefix, kind
    return found


def tags_of(letters: str) -> st.SearchStrategy[list[str]]:
    tag = st.one_of(
        st.just("O"), st.builds(lambda letter, kind: f"{letter}-{kind}", *map(st.sampled_from, (letters, "xy")))
    )
    return st.lists(tag, max_size=8)


@settings(max_examples=300, deadline=None)
@given(tags=st.one_of(*map(tags_of, ("BI", "BIES", "BILU"))))
def test_entities_are_those_of_conlleval(tags: list[str]) -> None:
    (found,), _ = to_bio([tags], place)
    assert chunks(found) == chunks(tags)
    assert len(found) == len(tags)
    for before, tag in zip(["O", *found], found, strict=False):
        assert tag == "O" or tag.startswith("B-") or entity_type(before) == entity_type(tag) != "O"
    assert to_bio([found], place) == ([found], [])


def test_each_notation_becomes_bio() -> None:
    bioes = ["B-x", "I-x", "E-x", "S-x", "O", "S-y"]
    assert to_bio([bioes], place)[0] == [["B-x", "I-x", "I-x", "B-x", "O", "B-y"]]
    bilou = [tag.replace("E-", "L-").replace("S-", "U-") for tag in bioes]
    found, notes = to_bio([bilou], place)
    assert found == to_bio([bioes], place)[0]
    assert notes == ["tags in BILOU notation are read as BIO"]


def test_an_entity_without_a_beginning_is_opened_and_said_with_its_place() -> None:
    found, notes = to_bio([["O", "I-x", "I-x"], ["B-x", "I-y"], ["I-x"], ["I-y"]], place)
    assert found == [["O", "B-x", "I-x"], ["B-x", "B-y"], ["B-x"], ["B-y"]]
    assert "4 tags go on" in notes[0]
    assert "f.conll:1, f.conll:11, f.conll:20, ..." in notes[0]


def test_parts_of_speech_are_left_alone() -> None:
    tags = [["NN", "VB", "O", "-LRB-"], []]
    assert to_bio(tags, place) == (tags, [])
    assert not is_bio(["NN", "O"])


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["B-x", "I-x", "person"], "f.conll:2: 'person' is no tag of BIO"),
        (["B-x", "E-x", "X-y"], "f.conll:2: 'X-y' is no tag of BIOES"),
        (["S-x", "L-x"], "mix two notations: f.conll:1: 'L-x'"),
        (["B-x", "B-"], "f.conll:1: 'B-'"),
    ],
)
def test_tags_that_make_no_sense_are_named_with_their_line(tags: list[str], expected: str) -> None:
    with pytest.raises(DataError) as caught:
        to_bio([tags], place)
    assert expected in caught.value.problem
    assert caught.value.remedy
