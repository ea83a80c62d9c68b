"""Text as the units that a speech recogniser writes: characters, or pieces of byte-pair encoding. Imports no torch.

The units are a data set's labels. Everything here follows from them alone, so a bundle that carries its labels reads
and writes as training did. Labels that hold :data:`WORD` are pieces (Sennrich et al. 2016, arXiv:1508.07909): each
word begins with it, and of all neighbours those are joined first whose piece comes first among the labels.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

from zoo_registry.errors import DataError, MissingDependency, UsageError

WORD = "▁"
"""Marks the start of a word, as in SentencePiece."""

CHARACTERS = "characters"


def clean(text: str) -> str:
    """A transcript as it is kept: composed (NFC), single spaces between words, none around; :data:`WORD` is a space."""
    return " ".join(unicodedata.normalize("NFC", text).replace(WORD, " ").split())


def parse_units(text: str | None) -> int | None:
    """The number of pieces that ``--units`` asks for; None for characters.

    Raises:
        UsageError: it is neither.
    """
    if text is None or text.strip().casefold() == CHARACTERS:
        return None
    if not text.strip().isdecimal() or int(text) < 1:
        raise UsageError(f"There are no units {text!r}.", "Say characters, or a number of pieces such as 500.")
    return int(text)


def make_units(transcripts: Sequence[str], pieces: int | None) -> tuple[str, ...]:
    """The units of cleaned transcripts: their characters in the order of Unicode, which a space leads, or pieces."""
    return tuple(sorted(set().union(*transcripts))) if pieces is None else _train(transcripts, pieces)


def spell(text: str, labels: Sequence[str]) -> list[int]:
    """The ids of a text's units; characters that no unit has are left out."""
    ranks = _ranks(tuple(labels))
    known = "".join(letter for letter in clean(text) if letter == " " or letter in ranks).split()
    if WORD in ranks:
        return [rank for word in known for rank in _join([ranks[letter] for letter in WORD + word], labels, ranks)]
    return [ranks[letter] for letter in " ".join(known) if letter in ranks]


def read(ids: Iterable[int], labels: Sequence[str]) -> str:
    """The text that units spell."""
    return clean("".join(labels[number] for number in ids))


def unknown(text: str, labels: Sequence[str]) -> set[str]:
    """The characters of a cleaned text that no unit has."""
    return {letter for letter in text if letter != " "} - _ranks(tuple(labels)).keys()


@lru_cache(maxsize=8)
def _ranks(labels: tuple[str, ...]) -> dict[str, int]:
    return {label: rank for rank, label in enumerate(labels)}


def _join(word: list[int], labels: Sequence[str], ranks: dict[str, int]) -> list[int]:
    """Join neighbours until none make a piece: the lowest rank first, then the shorter left side, then the left one."""
    while True:
        best: tuple[int, int, int] | None = None
        for place, (left, right) in enumerate(pairwise(word)):
            rank = ranks.get(labels[left] + labels[right])
            if rank is not None and (best is None or (rank, len(labels[left]), place) < best):
                best = rank, len(labels[left]), place
        if best is None:
            return word
        word[best[2] : best[2] + 2] = [best[0]]


def _train(transcripts: Sequence[str], count: int) -> tuple[str, ...]:
    """``count`` pieces, the alphabet first, then in the order in which they were joined; fewer where the transcripts
    have no more."""
    try:
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    except ImportError as error:
        raise MissingDependency(
            "Pieces of words need the package tokenizers.", 'Install it: pip install "zookit[text]".'
        ) from error
    alphabet = {WORD}.union(*transcripts) - {" "}
    if count < len(alphabet):
        raise UsageError(
            f"{count} pieces are too few: the transcripts have {len(alphabet)} different characters.",
            f"Ask for more than {len(alphabet)} with --units, or for --units characters.",
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=WORD, prepend_scheme="always")
    trainer = trainers.BpeTrainer(
        vocab_size=count, show_progress=False, special_tokens=[], initial_alphabet=sorted(alphabet)
    )
    tokenizer.train_from_iterator(transcripts, trainer)
    vocabulary = tokenizer.get_vocab()
    if not vocabulary:
        raise DataError("The transcripts hold no words.", "Check the column of the transcripts.")
    return tuple(sorted(vocabulary, key=vocabulary.__getitem__))
