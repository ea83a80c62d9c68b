"""Entities against a slow reading of the conlleval rules and against nervaluate; words of plain texts."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from nervaluate import Evaluator

from zoo.entities import count, find, scheme_of
from zoo.words import as_words, split_words

TAGS = ("O", "B-person", "I-person", "B-place", "I-place")
sentences = st.lists(st.lists(st.sampled_from(range(len(TAGS))), min_size=0, max_size=8), min_size=1, max_size=6)


def slow_entities(tags: list[str]) -> set[tuple[int, int, str]]:
    """Word by word: an entity goes on only with I- of its own type."""
    found, start, kind = set(), None, ""
    for place, tag in enumerate([*tags, "O"]):
        goes_on = start is not None and tag == f"I-{kind}"
        if start is not None and not goes_on:
            found.add((start, place, kind))
            start = None
        if tag != "O" and not goes_on:
            start, kind = place, tag[2:]
    return found


def flat(rows: list[list[int]]) -> np.ndarray:
    return np.array([tag for row in rows for tag in row], dtype=np.int64)


@given(sentences, st.randoms(use_true_random=False))
def test_counts_are_those_of_the_slow_reading(wanted: list[list[int]], random: object) -> None:
    given_ = [[random.choice([tag, random.randrange(5)]) for tag in row] for row in wanted]  # type: ignore[attr-defined]
    lengths = np.array([len(row) for row in wanted])
    scheme = scheme_of(TAGS)
    counts = count(flat(given_), flat(wanted), lengths, scheme)
    for row, (one, other) in enumerate(zip(given_, wanted, strict=True)):
        found, real = (slow_entities([TAGS[tag] for tag in tags]) for tags in (one, other))
        for kind, name in enumerate(("person", "place")):
            mine, theirs = ({e for e in spans if e[2] == name} for spans in (found, real))
            assert counts[row, kind].tolist() == [len(mine & theirs), len(mine), len(theirs)]
        bare = [{e[:2] for e in spans} for spans in (found, real)]
        whole = count(flat(given_), flat(wanted), lengths, scheme, typed=False)[row, 0]
        assert whole.tolist() == [len(bare[0] & bare[1]), len(found), len(real)]


def test_counts_agree_with_nervaluate() -> None:
    random = np.random.default_rng(0)
    wanted = [random.integers(0, 5, random.integers(1, 12)).tolist() for _ in range(200)]
    given_ = [[tag if random.random() < 0.7 else int(random.integers(5)) for tag in row] for row in wanted]
    names = [[[TAGS[tag] for tag in row] for row in rows] for rows in (wanted, given_)]
    theirs = Evaluator(*names, tags=["person", "place"], loader="list").evaluate()["overall"]
    lengths = np.array([len(row) for row in wanted])
    right, found, real = count(flat(given_), flat(wanted), lengths, scheme_of(TAGS)).sum(axis=(0, 1))
    assert right == theirs["strict"].correct
    assert (found, real) == (theirs["strict"].actual, theirs["strict"].possible)
    bare = count(flat(given_), flat(wanted), lengths, scheme_of(TAGS), typed=False).sum(axis=(0, 1))
    assert bare[0] == theirs["exact"].correct


def test_sentences_do_not_run_into_each_other() -> None:
    found = find(np.array([1, 2, 2, 2]), np.array([2, 0, 2]), scheme_of(TAGS))
    assert list(zip(found.start, found.stop, strict=True)) == [(0, 2), (2, 4)]


def test_no_word_is_no_entity() -> None:
    scheme = scheme_of(TAGS)
    assert len(find(np.zeros(0, np.int64), np.array([0]), scheme).start) == 0
    assert find(np.array([-1, 2, -1]), np.array([3]), scheme).stop.tolist() == [2]


def test_parts_of_speech_name_no_entities() -> None:
    assert scheme_of(("NOUN", "VERB")) is None
    assert scheme_of(("B-x", "I-x")).outside == -1


def test_words_of_a_text() -> None:
    text = "Barack Obama's in Zürich, 東京\t😀 हिन्दी!"
    words = ["Barack", "Obama", "'", "s", "in", "Zürich", ",", "東", "京", "😀", "हिन्दी", "!"]
    assert as_words(text) == words
    assert as_words(words) is words


@given(st.text(max_size=40))
def test_words_cover_everything_but_space(text: str) -> None:
    spans = split_words(text)
    assert "".join(text[a:b] for a, b in spans) == "".join(text.split())
    assert all(a < b for a, b in spans)
    assert spans == sorted(spans)
