"""Entities in sequences of tags, with numpy alone. n words of all sentences one after another, E entities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from zoo.data.tags import OUTSIDE, entity_type, is_bio


@dataclass(frozen=True)
class Scheme:
    """Tags of entities in BIO notation.

    Attributes:
        types: names of the entity types, in the order their tags come.
        kind: (C,) type of each tag, -1 outside.
        begins: (C,) True where a tag opens an entity.
        outside: id of ``O``, -1 where no tag is called so.
    """

    types: tuple[str, ...]
    kind: np.ndarray
    begins: np.ndarray
    outside: int


@dataclass(frozen=True)
class Spans:
    """E entities, ascending: first word, one past the last, type; each (E,) int64."""

    start: np.ndarray
    stop: np.ndarray
    kind: np.ndarray


def scheme_of(labels: Sequence[str]) -> Scheme | None:
    """How these tags name entities; None where they do not (parts of speech)."""
    if not is_bio(labels):
        return None
    types = tuple(dict.fromkeys(entity_type(tag) for tag in labels if tag != OUTSIDE))
    kind = np.array([-1 if tag == OUTSIDE else types.index(entity_type(tag)) for tag in labels])
    begins = np.array([tag.startswith("B-") for tag in labels])
    return Scheme(types, kind, begins, labels.index(OUTSIDE) if OUTSIDE in labels else -1)


def find(ids: np.ndarray, lengths: np.ndarray, scheme: Scheme) -> Spans:
    """The entities of sentences of ``lengths`` words, whose tags (n,) stand one after another; -1 is no tag.

    As the conlleval script of the CoNLL shared tasks: an ``I-x`` that goes on with nothing opens an entity.
    """
    kind = np.where(ids >= 0, scheme.kind[ids], -1)
    before = np.concatenate([[-1], kind[:-1]])[: len(kind)]
    starts = np.cumsum(lengths)[:-1]
    before[starts[starts < len(kind)]] = -1
    opens = (kind >= 0) & (scheme.begins[ids] | (kind != before))
    goes_on = np.append(((kind >= 0) & ~opens)[1:], False)
    start = np.flatnonzero(opens)
    return Spans(start, np.flatnonzero((kind >= 0) & ~goes_on) + 1, kind[start])


def matches(given: Spans, wanted: Spans, typed: bool = True) -> np.ndarray:
    """(E,) bool: which of the given entities are wanted ones, with both ends and (if ``typed``) the type alike."""
    if not len(wanted.start):
        return np.zeros(len(given.start), bool)
    at = np.minimum(np.searchsorted(wanted.start, given.start), len(wanted.start) - 1)
    same = (wanted.start[at] == given.start) & (wanted.stop[at] == given.stop)
    return same & (wanted.kind[at] == given.kind) if typed else same


def count(given: np.ndarray, wanted: np.ndarray, lengths: np.ndarray, scheme: Scheme, typed: bool = True) -> np.ndarray:
    """(sentences, types, 3) counts of entities: right, given, wanted. ``given`` and ``wanted`` are tags (n,). Not
    ``typed``: whatever their type, (sentences, 1, 3)."""
    one, other = find(given, lengths, scheme), find(wanted, lengths, scheme)
    sentence = np.repeat(np.arange(len(lengths)), lengths)
    counts = np.zeros((len(lengths), len(scheme.types) if typed else 1, 3), np.int64)
    for column, spans in enumerate((_chosen(one, matches(one, other, typed)), one, other)):
        kind = spans.kind if typed else np.zeros_like(spans.kind)
        np.add.at(counts[..., column], (sentence[spans.start], kind), 1)
    return counts


def _chosen(spans: Spans, which: np.ndarray) -> Spans:
    return Spans(spans.start[which], spans.stop[which], spans.kind[which])
