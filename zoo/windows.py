"""Long contexts as overlapping windows for question answering, without torch: what training, prediction and serving
share (Devlin et al., "BERT", 2019).

A sample is a :class:`Window`: a question and a part of its context. It decodes to int32 (n, 3) as :mod:`zoo.texts` has
it, but for the third channel: the number of a token in the whole context, -1 for every other token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tokenizers import Encoding, Tokenizer

from zoo.console import say
from zoo.data.dataset import Table
from zoo.texts import CHANNELS, TextTokenizer
from zoo_registry.errors import DataError, UsageError

OVERLAP = 128
"""Most tokens that neighbouring windows share; longer than any answer looked for."""

VERSION = 1
"""Raised whenever the same question would decode to other windows."""

NOWHERE = (0, 0)
"""The target of a window without the answer: its first token."""


@dataclass(frozen=True)
class Frame:
    """The special tokens around a pair: (ids, segments) before the question, between and after, and the segments of the
    question and of the context."""

    before: np.ndarray
    between: np.ndarray
    after: np.ndarray
    segments: tuple[int, int]


@dataclass(frozen=True)
class Context:
    """A tokenised context: token ids (n,) and the characters (n, 2) each stands for, first and one past the last."""

    ids: np.ndarray
    offsets: np.ndarray


@dataclass(frozen=True)
class Window:
    """A question and the tokens ``first`` to ``stop`` (one past the last) of its context. What its text form leaves out
    follows from the rest and the tokenizer, so it can key a cache."""

    question: str
    context: str
    first: int
    stop: int
    question_ids: np.ndarray = field(repr=False, compare=False)
    tokens: Context = field(repr=False, compare=False)
    frame: Frame = field(repr=False, compare=False)

    @property
    def shift(self) -> int:
        """Position in the window of the context's token 0, were it there."""
        return len(self.frame.before) + len(self.question_ids) + len(self.frame.between) - self.first

    def decode(self) -> np.ndarray:
        """int32 (n, 3): ids, segments (0 the question, 1 the context), number of the context's token or -1."""
        places = np.arange(self.first, self.stop)
        question, context = self.frame.segments
        parts = [
            _channels(self.frame.before[:, 0], self.frame.before[:, 1], -1),
            _channels(self.question_ids, question, -1),
            _channels(self.frame.between[:, 0], self.frame.between[:, 1], -1),
            _channels(self.tokens.ids[self.first : self.stop], context, places),
            _channels(self.frame.after[:, 0], self.frame.after[:, 1], -1),
        ]
        return np.concatenate(parts)

    def target(self, answers: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
        """Positions in the window of the first and the last token of the first answer that lies wholly in it;
        :data:`NOWHERE` where none does."""
        starts, ends = self.tokens.offsets[:, 0], self.tokens.offsets[:, 1]
        for answer in answers:
            inside = np.flatnonzero((starts < answer["start"] + len(answer["text"])) & (ends > answer["start"]))
            if len(inside) and self.first <= inside[0] and inside[-1] < self.stop:
                return int(inside[0]) + self.shift, int(inside[-1]) + self.shift
        return NOWHERE


def question_room(tokens: TextTokenizer) -> int:
    """Most tokens of a question: half of the longest input.

    Raises:
        UsageError: that leaves none for the context.
    """
    half = tokens.max_length // 2
    if half < 1 or tokens.max_length - half - tokens.tokenizer.num_special_tokens_to_add(True) < 1:
        raise UsageError(
            f"A longest input of {tokens.max_length} tokens leaves no room for a question and its context.",
            "Give a larger --max-length.",
        )
    return half


def window_rows(table: Table, tokens: TextTokenizer) -> Table:
    """The windows of a table of questions, in order; columns ``input`` (:class:`Window`) and ``owner`` (the row).

    Windows share a third of their room, at most :data:`OVERLAP` tokens. Questions longer than half of the longest input
    are cut there, which is said. Where the table has ``label`` (lists of ``{"text", "start"}``), ``label`` becomes the
    (first, last) token of the answer in the window and ``truth`` holds the lists. An item that cannot be read stays as
    it is, for :func:`decode_window` to say why.

    Args:
        table: its inputs are ``{"question", "context"}`` or (question, context).

    Raises:
        UsageError: the longest input leaves no room for the context.
    """
    most = question_room(tokens)
    pairs = [_pair(item) for item in table.columns["input"]]
    encode = tokens.tokenizer
    questions = _encoded(encode, (pair[0] for pair in pairs if pair))
    contexts = _encoded(encode, (pair[1] for pair in pairs if pair))
    frame: Frame | None = None
    whole = {
        text: Context(np.array(found.ids, np.int32), np.array(found.offsets, np.int32).reshape(-1, 2))
        for text, found in contexts.items()
    }
    asked = {text: np.array(found.ids, np.int32) for text, found in questions.items()}
    answers = table.columns.get("label")
    inputs: list[Any] = []
    owner: list[int] = []
    for row, pair in enumerate(pairs):
        if pair is None or not len(asked.get(pair[0], ())) or not len(getattr(whole.get(pair[1]), "ids", ())):
            inputs.append(table.columns["input"][row])
            owner.append(row)
            continue
        question, context = pair
        frame = frame or _frame(encode, questions[question], contexts[context])
        ids, context_tokens = asked[question][:most], whole[context]
        room = tokens.max_length - len(ids) - encode.num_special_tokens_to_add(True)
        for first, stop in spans(len(context_tokens.ids), room):
            inputs.append(Window(question, context, first, stop, ids, context_tokens, frame))
            owner.append(row)
    if cut := sum(len(asked.get(pair[0], ())) > most for pair in pairs if pair):
        say(f"  {cut:,} of {len(pairs):,} questions are longer than {most} tokens and are cut there")
    columns: dict[str, list[Any]] = {"input": inputs, "owner": owner}
    if answers is not None:
        columns["truth"] = [answers[row] for row in owner]
        columns["label"] = [
            item.target(truth) if isinstance(item, Window) else NOWHERE
            for item, truth in zip(inputs, columns["truth"], strict=True)
        ]
    return Table(columns)


def spans(length: int, room: int) -> Iterator[tuple[int, int]]:
    """(first, one past the last) of overlapping parts of at most ``room`` that cover ``length`` tokens."""
    step = room - min(OVERLAP, room // 3)
    for first in range(0, max(length - room, 0) + step, step):
        yield first, min(first + room, length)
        if first + room >= length:
            return


def decode_window(item: Any) -> np.ndarray:
    """A :class:`Window` as int32 (n, 3).

    Raises:
        DataError: the item is none, because its question or its context could not be read or holds no text.
    """
    if isinstance(item, Window):
        return item.decode()
    if _pair(item) is None:
        raise DataError("It is no question with a context.", "Give both as texts.")
    raise DataError("Its question or its context holds no text.", "Remove it, or fill it in.")


def _pair(item: Any) -> tuple[str, str] | None:
    """(question, context), or None for what is none."""
    found = (item.get("question"), item.get("context")) if isinstance(item, Mapping) else item
    if isinstance(found, tuple) and len(found) == 2 and all(isinstance(text, str) for text in found):
        return found
    return None


def _encoded(tokenizer: Tokenizer, texts: Iterator[str]) -> dict[str, Encoding]:
    """Each distinct text's tokens; texts that cannot be tokenised are left out."""
    distinct = list(dict.fromkeys(texts))
    try:
        return dict(zip(distinct, tokenizer.encode_batch(distinct, add_special_tokens=False), strict=True))
    except Exception:  # one bad text (a lone surrogate) fails its whole batch: find it
        found: dict[str, Encoding] = {}
        for text in distinct:
            try:
                found[text] = tokenizer.encode(text, add_special_tokens=False)
            except Exception:
                continue
        return found


def _frame(tokenizer: Tokenizer, question: Encoding, context: Encoding) -> Frame:
    """What the tokenizer's template puts around a pair, read off one."""
    whole = tokenizer.post_process(question, context, add_special_tokens=True)
    # Encodings do not tell reliably which tokens are of the first text.
    first = _place(whole.ids, question.ids, 0)
    second = _place(whole.ids, context.ids, first + len(question))
    segments = np.array(whole.type_ids, np.int32)
    if not segments.any():
        # As zoo.texts has it: RoBERTa's template calls both texts segment 0.
        segments[second:] = 1
    special = np.stack([np.array(whole.ids, np.int32), segments], axis=1)
    return Frame(
        before=special[:first],
        between=special[first + len(question) : second],
        after=special[second + len(context) :],
        segments=(int(segments[first]), int(segments[second])),
    )


def _place(ids: list[int], part: list[int], start: int) -> int:
    """Where ``part`` stands in ``ids``, from ``start`` on."""
    return next(place for place in range(start, len(ids)) if ids[place : place + len(part)] == part)


def _channels(ids: np.ndarray, segments: Any, places: Any) -> np.ndarray:
    array = np.empty((len(ids), CHANNELS), np.int32)
    array[:, 0], array[:, 1], array[:, 2] = ids, segments, places
    return array
