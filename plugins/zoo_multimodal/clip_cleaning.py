"""Cleaning of texts as normalizers of the tokenizers library: what ftfy, html and big_vision's canonical form do."""

from __future__ import annotations

import string
from typing import Any

from tokenizers import Regex, normalizers

# What ftfy.fix_text changes character by character. Its tables are copied rather than imported: a new version of ftfy
# must not change what a trained model reads.
# Three times the ampersand, which may stand for the beginning of another entity.
_ENTITIES = ((r"&(?:amp|AMP|#38(?!\d)|#[xX]26(?!\h));?", "&"),) * 3 + (
    (r"&(?:lt|LT|#60(?!\d)|#[xX]3[cC](?!\h));?", "<"),
    (r"&(?:gt|GT|#62(?!\d)|#[xX]3[eE](?!\h));?", ">"),
    (r"&(?:quot|QUOT|#34(?!\d)|#[xX]22(?!\h));?", '"'),
    (r"&(?:apos;|#0?39(?!\d);?|#[xX]27(?!\h);?)", "'"),
    (r"&(?:nbsp|#160(?!\d)|#[xX][aA]0(?!\h));?", " "),
)
_LIGATURES = dict(
    zip("\ufb00\ufb01\ufb02\ufb03\ufb04\ufb05\ufb06", ("ff", "fi", "fl", "ffi", "ffl", "ſt", "st"), strict=True)
) | dict(
    zip(
        "\u0132\u0133\u0149\u01f1\u01f2\u01f3\u01c4\u01c5\u01c6\u01c7\u01c8\u01c9\u01ca\u01cb\u01cc",
        ["IJ", "ij", "ʼn", "DZ", "Dz", "dz", "DŽ", "Dž", "dž", "LJ", "Lj", "lj", "NJ", "Nj", "nj"],
        strict=True,
    )
)
_CONTROLS = r"[\x00-\x08\x0b\x0e-\x1f\x7f\u206a-\u206f\ufeff\ufff9-\ufffc]"
_SPACES = r"[\s\x85\u3000]+"


def repairs() -> list[Any]:
    """What ftfy and html.unescape do, as far as a normalizer can."""
    steps = [normalizers.Replace(Regex(pattern), made) for pattern, made in _ENTITIES]
    steps += [normalizers.Replace(old, new) for old, new in _LIGATURES.items()]
    steps += [
        normalizers.Replace(Regex("[\u02bc\u2018-\u201b]"), "'"),
        normalizers.Replace(Regex("[\u201c-\u201f]"), '"'),
        normalizers.Replace(Regex(_CONTROLS), ""),
    ]
    # Full-width forms of ASCII, as in Chinese and Japanese texts.
    steps += [normalizers.Replace(chr(0xFF01 + place), chr(0x21 + place)) for place in range(94)]
    return [*steps, normalizers.NFC()]


def lower() -> list[Any]:
    """Lower case."""
    # The library lowers letter by letter, Python knows that a word's last sigma looks different.
    return [normalizers.Replace(Regex(r"(?<=\p{L})Σ(?!\p{L})"), "ς"), normalizers.Lowercase()]


def canonical() -> list[Any]:
    """big_vision's canonical text: no punctuation, lower case."""
    marks = "".join(f"\\{mark}" for mark in string.punctuation if mark != "_")
    return [normalizers.Replace("_", " "), normalizers.Replace(Regex(f"[{marks}]"), ""), *lower()]


def spaces() -> list[Any]:
    """One space for any white space."""
    return [normalizers.Replace(Regex(_SPACES), " ")]
