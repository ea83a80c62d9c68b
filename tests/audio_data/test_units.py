from __future__ import annotations

import random
import unicodedata

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from zoo.units import WORD, clean, make_units, parse_units, read, spell, unknown
from zoo_registry.errors import UsageError

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def sentences(count: int, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    words = [digit + ending for digit in DIGITS for ending in ("", "teen", "s", "ty")]
    return [" ".join(draw.choices(words, k=5)) for _ in range(count)]


def trained(transcripts: list[str], count: int) -> Tokenizer:
    """The library's own way, from its documentation."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=WORD, prepend_scheme="always")
    tokenizer.train_from_iterator(transcripts, trainers.BpeTrainer(vocab_size=count, show_progress=False))
    return tokenizer


def with_all_joins(labels: tuple[str, ...]) -> Tokenizer:
    """The library's encoder with every join that the labels allow, in their order."""
    ranks = {label: rank for rank, label in enumerate(labels)}
    joins = [
        (label[:cut], label[cut:])
        for label in labels
        for cut in range(1, len(label))
        if label[:cut] in ranks and label[cut:] in ranks
    ]
    tokenizer = Tokenizer(models.BPE(vocab=ranks, merges=joins))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=WORD, prepend_scheme="always")
    return tokenizer


def test_clean() -> None:
    assert clean("  a\t b\u00a0c\n▁d ") == "a b c d"
    assert clean("e\u0301") == "é"
    assert unicodedata.is_normalized("NFC", clean("A\u030a o\u0308"))


def test_characters() -> None:
    labels = make_units(["two one", "zwölf"], None)
    assert labels == (" ", "e", "f", "l", "n", "o", "t", "w", "z", "ö")
    assert read(spell("one  two", labels), labels) == "one two"
    assert spell("one", labels) == [labels.index(letter) for letter in "one"]


def test_unknown_characters_are_dropped_without_a_trace() -> None:
    labels = make_units(["a b"], None)
    assert unknown("a № b!", labels) == {"№", "!"}
    assert read(spell("a № b!", labels), labels) == "a b"
    assert spell("№", labels) == []


@settings(deadline=None)
@given(st.text())
def test_characters_read_what_they_spell(text: str) -> None:
    labels = make_units([clean(text)], None)
    assert read(spell(text, labels), labels) == clean(text)
    assert not unknown(clean(text), labels)


@pytest.mark.parametrize("count", [20, 40, 80])
def test_pieces_as_the_library_trains_and_encodes(count: int) -> None:
    transcripts = sentences(300)
    labels = make_units(transcripts, count)
    tokenizer = trained(transcripts, count)
    assert labels == tuple(sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__))
    assert len(labels) == count
    for text in [*transcripts, *sentences(100, seed=1), "ninetyeight oneone", "teen zeroteens"]:
        assert [labels[number] for number in spell(text, labels)] == tokenizer.encode(text).tokens
        assert read(spell(text, labels), labels) == text


@settings(deadline=None, max_examples=150)
@given(st.lists(st.text("abc ", min_size=1, max_size=30), min_size=1, max_size=8), st.integers(4, 30),
       st.text("abc ", max_size=40))  # fmt: skip
def test_pieces_are_joined_as_the_library_joins_them(transcripts: list[str], count: int, text: str) -> None:
    transcripts = [clean(one) for one in transcripts]
    assume(any(transcripts))
    labels = make_units(transcripts, count)
    known = clean("".join(letter for letter in text if letter in {*labels, " "}))
    encoded = with_all_joins(labels).encode(known).tokens if known else []
    assert [labels[number] for number in spell(text, labels)] == encoded
    assert read(spell(text, labels), labels) == known


def test_pieces_leave_out_unknown_characters() -> None:
    labels = make_units(["one two", "two one one"], 12)
    assert labels[0] in "enotw▁"
    assert read(spell("one! € two", labels), labels) == "one two"


def test_what_units_may_be() -> None:
    assert parse_units(None) is None
    assert parse_units("Characters ") is None
    assert parse_units("500") == 500
    for text in ("words", "0", "-3", "1.5"):
        with pytest.raises(UsageError, match="no units"):
            parse_units(text)
    with pytest.raises(UsageError, match="3 pieces are too few: the transcripts have 6 different"):
        make_units(["one two"], 3)
