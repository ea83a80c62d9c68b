"""Taking names apart, and guessing what a misspelt one meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import NamedTuple


class Name(NamedTuple):
    """``namespace/bare@tag``; namespace and tag are empty where not given."""

    namespace: str
    bare: str
    tag: str


def parse(text: str) -> Name:
    """Take ``resnet50``, ``vision/resnet50`` or ``vision/resnet50@a1_in1k`` apart."""
    base, _, tag = text.strip().partition("@")
    namespace, slash, bare = base.partition("/")
    return Name(namespace, bare, tag) if slash else Name("", base, tag)


def near(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Up to ``count`` known names that ``name`` may have meant, best first.

    Names that differ only in case and punctuation come first, then the most similar by :mod:`difflib`. difflib is
    quadratic, so only the names that share most of their letter pairs reach it: 3,000 names take a few milliseconds.
    """
    plain = _plain(name)
    pairs = _pairs(plain)
    scored = []
    for other in set(known):
        if (plain_other := _plain(other)) == plain:
            scored.append((2.0, other, plain_other))
        elif shared := len(pairs & (theirs := _pairs(plain_other))):
            scored.append((2 * shared / (len(pairs) + len(theirs)), other, plain_other))
    scored.sort(key=lambda item: (-item[0], item[1]))
    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2(plain)
    best = []
    for overlap, other, plain_other in scored[:60]:
        matcher.set_seq1(plain_other)
        similarity = 2.0 if overlap == 2.0 else matcher.ratio()
        if similarity >= 0.6:
            best.append((-similarity, len(other), other))
    return [other for *_, other in sorted(best)[:count]]


def did_you_mean(matches: Iterable[str], otherwise: str) -> str:
    """A remedy sentence."""
    listed = list(matches)
    return f"Did you mean {' or '.join(listed)}?" if listed else otherwise


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _pairs(text: str) -> set[str]:
    padded = f"^{text}$"
    return {padded[i : i + 2] for i in range(len(padded) - 1)}
