"""Tags of words: entities in BIO notation, whatever notation they were written in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from zoo_registry.errors import DataError

OUTSIDE = "O"
_CHUNK = re.compile(r"([BIESLU])-(.+)")
_SCHEMES = {"BIO": "BI", "BIOES": "BIES", "BILOU": "BILU"}
_STARTS, _ENDS = "BSU", "ESLU"


def entity_type(tag: str) -> str:
    """``"person"`` of ``"B-person"``; the tag itself where it is no part of an entity."""
    found = _CHUNK.fullmatch(tag)
    return found[2] if found else tag


def is_bio(tags: Iterable[str]) -> bool:
    """True if these are tags of entities (``B-x``, ``I-x``, ``O``) and no plain ones such as parts of speech."""
    return any(_CHUNK.fullmatch(tag) for tag in tags)


def to_bio(sentences: Sequence[Sequence[str]], place: Callable[[int, int], str]) -> tuple[list[list[str]], list[str]]:
    """Tags of sentences in BIO notation (Ramshaw and Marcus 1995, the IOB2 form), and notes on what was changed.

    BIOES and BILOU are rewritten. An ``I-x`` that goes on with nothing (after ``O``, after another type, after an end)
    opens an entity, as the conlleval script of the CoNLL shared tasks has it; this also reads IOB1. Tags without such
    prefixes (parts of speech) are returned as they are.

    Args:
        place: ``file:line`` of a word, from (sentence, word).

    Raises:
        DataError: a tag that is no tag of the notation, or two notations in one file, with ``file:line``.
    """
    distinct = {tag for tags in sentences for tag in tags}
    if not is_bio(distinct):
        return [list(tags) for tags in sentences], []
    prefixes = {found[1] for tag in distinct if (found := _CHUNK.fullmatch(tag))}
    scheme = next((name for name, letters in _SCHEMES.items() if prefixes <= set(letters)), None)
    if scheme is None:
        where = _first(sentences, lambda tag: tag[:2] in {"L-", "U-"}, place)
        raise DataError(
            f"The tags mix two notations: {where} belongs to BILOU, others to BIOES.", "Write all in one of them."
        )
    if odd := {tag for tag in distinct if tag != OUTSIDE and not _CHUNK.fullmatch(tag)}:
        where = _first(sentences, odd.__contains__, place)
        raise DataError(
            f"{where} is no tag of {scheme}, in which the others are written.",
            f"Tags are {OUTSIDE} or one of {', '.join(f'{letter}-' for letter in _SCHEMES[scheme])} and a type.",
        )
    opened: list[str] = []
    rewritten = [_sentence(tags, opened, partial(place, row)) for row, tags in enumerate(sentences)]
    notes = [f"tags in {scheme} notation are read as BIO"] if scheme != "BIO" else []
    if opened:
        shown = ", ".join(opened[:3]) + (", ..." if len(opened) > 3 else "")
        count = f"{len(opened)} tag goes" if len(opened) == 1 else f"{len(opened)} tags go"
        notes.append(f"{count} on with no entity (I-x after O or after another type) and so open one: {shown}")
    return rewritten, notes


def _sentence(tags: Sequence[str], opened: list[str], place: Callable[[int], str]) -> list[str]:
    result = []
    prefix, kind = OUTSIDE, ""
    for word, tag in enumerate(tags):
        before, last = prefix, kind
        found = _CHUNK.fullmatch(tag)
        prefix, kind = (found[1], found[2]) if found else (OUTSIDE, "")
        if not found:
            result.append(OUTSIDE)
        elif prefix in _STARTS:
            result.append(f"B-{kind}")
        elif kind == last and before not in _ENDS:
            result.append(f"I-{kind}")
        else:
            result.append(f"B-{kind}")
            opened.append(place(word))
    return result


def _first(sentences: Sequence[Sequence[str]], wanted: Callable[[str], bool], place: Callable[[int, int], str]) -> str:
    row, word = next((r, w) for r, tags in enumerate(sentences) for w, tag in enumerate(tags) if wanted(tag))
    return f"{place(row, word)}: {sentences[row][word]!r}"
