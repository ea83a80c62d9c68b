"""Texts to a network's tokens, without torch: what training caches, prediction and serving share.

A text becomes an int32 array (n, 3), special tokens included: its token ids, its segments (0 the first text, 1 the
second of a pair) and its words (the index of a word at its first piece, else -1). For a list of words the index is the
place in the list; for plain text words are what the tokenizer's own pre-tokenizer splits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Encoding, Tokenizer

from zoo_registry.errors import DataError, UsageError, WeightsError

VERSION = 1
"""Raised whenever the same text and tokenizer would decode to other tokens, so that caches are not reused."""

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
CHANNELS = 3

# What the special tokens are called where no file beside the tokenizer says so, the likeliest first.
_USUAL: dict[str, tuple[str, ...]] = {
    "pad": ("[PAD]", "<pad>", "<|pad|>", "<|padding|>"),
    "unk": ("[UNK]", "<unk>"),
    "cls": ("[CLS]", "<s>"),
    "sep": ("[SEP]", "</s>"),
    "mask": ("[MASK]", "<mask>"),
    "bos": ("<s>", "<|begin_of_text|>", "[BOS]", "<|endoftext|>"),
    "eos": ("</s>", "<|end_of_text|>", "[EOS]", "<|endoftext|>"),
}


@dataclass(frozen=True)
class Special:
    """Ids of a tokenizer's special tokens; None where it has none."""

    pad: int | None = None
    unk: int | None = None
    cls: int | None = None
    sep: int | None = None
    mask: int | None = None
    bos: int | None = None
    eos: int | None = None

    @property
    def ids(self) -> list[int]:
        """All of them, ascending."""
        return sorted({value for value in asdict(self).values() if value is not None})

    @property
    def filler(self) -> int:
        """The id that stands where there is no token: pad, else eos, else 0. Attention never sees it."""
        return next((found for found in (self.pad, self.eos) if found is not None), 0)


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """The ``tokenizer.json`` of a folder, with the truncation and padding saved in it taken off.

    Raises:
        WeightsError: the file is missing or broken.
    """
    file = Path(folder) / TOKENIZER_FILE
    try:
        tokenizer = Tokenizer.from_str(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError(
            f"There is no tokenizer {file}.", f"Copy the model's {TOKENIZER_FILE} beside its weights."
        ) from error
    except Exception as error:  # the Rust side raises plain Exception for whatever it cannot parse
        raise WeightsError(
            f"{file} is damaged or no tokenizer: {str(error).strip()[:160].rstrip('.')}.",
            "Copy or fetch the file again.",
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def special_ids(tokenizer: Tokenizer, folder: str | Path | None = None) -> Special:
    """Special tokens as ``tokenizer_config.json`` and ``special_tokens_map.json`` in ``folder`` name them, else by
    their usual names."""
    named: dict[str, Any] = {}
    for file in ("special_tokens_map.json", CONFIG_FILE):
        named.update(_read_names(Path(folder) / file) if folder else {})
    found: dict[str, int | None] = {}
    for kind, usual in _USUAL.items():
        given = named.get(f"{kind}_token")
        names = (given,) if isinstance(given, str) else usual
        found[kind] = next((i for i in map(tokenizer.token_to_id, names) if i is not None), None)
    return Special(**found)


def _read_names(file: Path) -> dict[str, str]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(values, dict):
        return {}
    # Older files spell a token out: {"content": "[PAD]", "lstrip": false, ...}.
    plain = {key: value.get("content") if isinstance(value, dict) else value for key, value in values.items()}
    return {key: value for key, value in plain.items() if key.endswith("_token") and isinstance(value, str)}


class TextTokenizer:
    """A tokenizer with a longest input: raw text items to arrays (n, 3) and back to inputs of a network.

    Args:
        tokenizer: without truncation and padding, as :func:`load_tokenizer` gives it.
        special: its special tokens.
        max_length: longest array in tokens, special tokens included.

    Raises:
        UsageError: ``max_length`` leaves no room for text beside the special tokens.
    """

    def __init__(self, tokenizer: Tokenizer, special: Special, max_length: int) -> None:
        self.tokenizer = tokenizer
        self.special = special
        self.max_length = max_length
        self._added = {pair: tokenizer.num_special_tokens_to_add(pair) for pair in (False, True)}
        self._spaced = _words_need_spaces(tokenizer)
        if max_length <= self._added[False]:
            raise UsageError(
                f"A longest input of {max_length} tokens leaves no room beside {self._added[False]} special tokens.",
                "Give a larger --max-length.",
            )

    @property
    def vocabulary(self) -> int:
        """One more than the largest id."""
        return 1 + max(self.tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)

    @property
    def sha256(self) -> str:
        """Of the tokenizer, whatever the layout of its file."""
        return hashlib.sha256(self.tokenizer.to_str().encode()).hexdigest()

    def encode(self, item: Any) -> np.ndarray:
        """One item, cut to ``max_length`` tokens (a pair at its longer text), as int32 (n, 3).

        Args:
            item: a text, a pair of texts, a list of words, or a dict with "question" and "context".

        Raises:
            DataError: no text item, or one without a single token.
            UsageError: a pair, where ``max_length`` has no room for two texts.
        """
        parts = _parts(item)
        return self._finish([self._plain(part) for part in parts])

    def encode_batch(self, items: Sequence[Any]) -> list[np.ndarray | DataError]:
        """:meth:`encode` of many items, in parallel; the error in its place where an item cannot be read."""
        flat: list[Any] = []
        spans: list[slice | DataError] = []
        for item in items:
            try:
                parts = _parts(item)
            except DataError as error:
                spans.append(error)
                continue
            spans.append(slice(len(flat), len(flat) + len(parts)))
            flat += parts
        encoded = self._plain_batch(flat)
        return [span if isinstance(span, DataError) else self._finished(encoded[span]) for span in spans]

    def count_cut(self, items: Iterable[Any]) -> int:
        """How many items are longer than ``max_length`` and lose tokens. Only items whose array is ``max_length`` long
        can be among them. Items that cannot be read count as whole."""
        count = 0
        for item in items:
            try:
                parts = [self._plain(part) for part in _parts(item)]
            except DataError:
                continue
            count += sum(map(len, parts)) > self.max_length - self._added[len(parts) == 2]
        return count

    def pieces(self, texts: Sequence[str], packed: bool) -> list[list[np.ndarray]]:
        """Token ids of whole texts, int32 (n,) each; nothing for a text without a token.

        Args:
            packed: each text in one piece, ended by the eos (else sep) token and without other special tokens. Else in
                as many inputs, with their special tokens, as it fills.
        """
        end = self.special.eos if self.special.eos is not None else self.special.sep
        found: list[list[np.ndarray]] = []
        for encoding in self._plain_batch(texts):
            if isinstance(encoding, DataError) or not len(encoding):
                found.append([])
            elif packed:
                found.append([np.array(encoding.ids + ([] if end is None else [end]), np.int32)])
            else:
                encoding.truncate(self.max_length - self._added[False])
                framed = [self.tokenizer.post_process(part) for part in [encoding, *encoding.overflowing]]
                found.append([np.array(part.ids, np.int32) for part in framed])
        return found

    @cached_property
    def word_starts(self) -> np.ndarray:
        """(vocabulary,) bool: which tokens begin a word, by the mark that the tokenizer's model writes: WordPiece's
        ``##`` on what goes on, or the space of byte-level and sentence-piece models on what begins. Special tokens
        begin none."""
        names: list[str] = [""] * self.vocabulary
        for name, place in self.tokenizer.get_vocab(with_added_tokens=True).items():
            names[place] = name
        if any(name.startswith("##") for name in names):
            starts = [bool(name) and not name.startswith("##") for name in names]
        elif any(name.startswith(("Ġ", "▁")) for name in names):
            starts = [name.startswith(("Ġ", "▁")) for name in names]
        else:
            starts = [bool(name) for name in names]
        return np.array([start and place not in self.special.ids for place, start in enumerate(starts)])

    def offsets(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """(token ids (n,) int32, characters (n, 2) int64: first and one past the last) of a whole text, without special
        tokens and without a cut.

        Raises:
            DataError: as :meth:`encode`.
        """
        encoding = self._plain(_text(text))
        return np.array(encoding.ids, np.int32), np.array(encoding.offsets, np.int64).reshape(-1, 2)

    def model_inputs(self, arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Arrays (n_i, 3) as ``input_ids``, ``attention_mask`` and ``token_type_ids``, each (B, longest) int64."""
        longest = max(map(len, arrays), default=0)
        ids = np.full((len(arrays), longest), self.special.filler, np.int64)
        mask, segments = np.zeros_like(ids), np.zeros_like(ids)
        for row, array in enumerate(arrays):
            ids[row, : len(array)] = array[:, 0]
            segments[row, : len(array)] = array[:, 1]
            mask[row, : len(array)] = 1
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": segments}

    def describe(self) -> dict[str, Any]:
        """Everything but ``tokenizer.json`` that :func:`open_tokenizer` needs, as JSON values."""
        return {
            "kind": "text",
            "version": VERSION,
            "max_length": self.max_length,
            "pad": self.special.filler,
            "special": asdict(self.special),
            "tokenizer": TOKENIZER_FILE,
            "tokenizer_sha256": self.sha256,
        }

    def save(self, folder: Path) -> None:
        """Write ``tokenizer.json``, and ``tokenizer_config.json`` with the names of the special tokens."""
        folder.mkdir(parents=True, exist_ok=True)
        named = {
            f"{field.name}_token": self.tokenizer.id_to_token(value)
            for field in fields(self.special)
            if (value := getattr(self.special, field.name)) is not None
        }
        (folder / TOKENIZER_FILE).write_text(self.tokenizer.to_str(), encoding="utf-8")
        config = json.dumps({**named, "model_max_length": self.max_length}, indent=2, ensure_ascii=False)
        (folder / CONFIG_FILE).write_text(config + "\n", encoding="utf-8")

    def _plain(self, part: str | list[str]) -> Encoding:
        """A text or its words without special tokens."""
        try:
            if isinstance(part, list):
                return self.tokenizer.encode(self._words(part), is_pretokenized=True, add_special_tokens=False)
            return self.tokenizer.encode(part, add_special_tokens=False)
        except Exception as error:  # as above: plain Exception, or TypeError for text that is no Unicode
            raise DataError(
                f"{_shown(part)} cannot be tokenised: {str(error).strip()[:120].rstrip('.')}.", "Repair or remove it."
            ) from error

    def _plain_batch(self, parts: Sequence[str | list[str]]) -> list[Encoding | DataError]:
        places: dict[bool, list[int]] = {False: [], True: []}
        for place, part in enumerate(parts):
            places[isinstance(part, list)].append(place)
        found: dict[int, Encoding | DataError] = {}
        for words, where in places.items():
            batch = [self._words(parts[i]) if words else parts[i] for i in where]  # type: ignore[arg-type]
            try:
                encoded: Sequence[Encoding | DataError] = self.tokenizer.encode_batch(
                    batch, is_pretokenized=words, add_special_tokens=False
                )
            except Exception:  # one bad text fails its whole batch: find it
                encoded = [_attempt(self._plain, parts[i]) for i in where]
            found.update(zip(where, encoded, strict=True))
        return [found[place] for place in range(len(parts))]

    def _words(self, words: list[str]) -> list[str]:
        # Byte-level tokenizers tell the start of a word by the space before it.
        return [words[0], *(f" {word}" for word in words[1:])] if self._spaced else words

    def _finished(self, parts: Sequence[Encoding | DataError]) -> np.ndarray | DataError:
        try:
            return self._finish(parts)
        except DataError as error:
            return error

    def _finish(self, parts: Sequence[Encoding | DataError]) -> np.ndarray:
        """Cut, add special tokens, and lay out the three channels."""
        encodings: list[Encoding] = []
        for part in parts:
            if isinstance(part, DataError):
                raise part
            if not len(part):
                raise _empty()
            encodings.append(part)
        room = self.max_length - self._added[len(encodings) == 2]
        if room < len(encodings):
            raise UsageError(
                f"A longest input of {self.max_length} tokens leaves no room for pairs.", "Give a larger --max-length."
            )
        for encoding, length in zip(encodings, shares([len(e) for e in encodings], room), strict=True):
            if length < len(encoding):
                encoding.truncate(length)
        pair = encodings[1] if len(encodings) == 2 else None
        whole = self.tokenizer.post_process(encodings[0], pair, add_special_tokens=True)
        array = np.empty((len(whole), CHANNELS), np.int32)
        array[:, 0], array[:, 1], array[:, 2] = whole.ids, whole.type_ids, -1
        words = np.array([-1 if word is None else word for word in whole.word_ids])
        texts = np.array([-1 if text is None else text for text in whole.sequence_ids])
        if len(encodings) == 2 and not array[:, 1].any():
            # RoBERTa's template calls both texts segment 0; readers of the segments want to tell them apart.
            array[:, 1] = np.maximum.accumulate(np.maximum(texts, 0))
        first = np.ones(len(words), bool)
        first[1:] = (words[1:] != words[:-1]) | (texts[1:] != texts[:-1])
        array[:, 2] = np.where(first, words, -1)
        return array


def open_tokenizer(folder: str | Path, max_length: int, special: Special | None = None) -> TextTokenizer:
    """The tokenizer of a folder.

    Raises:
        WeightsError: it is missing or broken.
        UsageError: ``max_length`` leaves no room for text.
    """
    tokenizer = load_tokenizer(folder)
    return TextTokenizer(tokenizer, special or special_ids(tokenizer, folder), max_length)


def from_description(describe: dict[str, Any], folder: str | Path) -> TextTokenizer:
    """What :meth:`TextTokenizer.describe` described, from the folder its ``tokenizer.json`` lies in.

    Raises:
        DataError: no description of text preprocessing, or one of another version.
        WeightsError: the tokenizer is missing, broken, or another one.
    """
    try:
        kind, version, max_length = describe["kind"], describe["version"], int(describe["max_length"])
        special = Special(**describe["special"])
        expected = describe["tokenizer_sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"The description of the preprocessing is not complete ({error!r}).",
            "Take model.json as zoo wrote it, or export the run again.",
        ) from error
    if kind != "text" or version != VERSION:
        raise DataError(
            f"The preprocessing is of kind {kind!r} version {version!r}; this zoo knows 'text' version {VERSION}.",
            "Use the zoo version that wrote it, or export the run again.",
        )
    found = open_tokenizer(folder, max_length, special)
    if found.sha256 != expected:
        raise WeightsError(
            f"{Path(folder) / TOKENIZER_FILE} is not the tokenizer the model was trained with.",
            "Restore it from a copy, or export the run again.",
        )
    return found


def shares(lengths: Sequence[int], room: int) -> list[int]:
    """How many tokens each of one or two texts keeps within ``room``: the longer gives way first, then both alike."""
    if sum(lengths) <= room:
        return list(lengths)
    if len(lengths) == 1:
        return [room]
    shorter = min(min(lengths), room // 2)
    # An odd token goes to the longer, as in the tokenizers library.
    return [room - shorter, shorter] if lengths[0] > lengths[1] else [shorter, room - shorter]


def _parts(item: Any) -> list[Any]:
    """One or two texts, or one list of words.

    Raises:
        DataError: none of these, or empty.
    """
    if isinstance(item, str):
        return [_text(item)]
    if isinstance(item, dict) and {"question", "context"} <= item.keys():
        return [_text(item["question"]), _text(item["context"])]
    if isinstance(item, tuple) and len(item) == 2:
        return [_text(part) for part in item]
    if isinstance(item, list) and all(isinstance(word, str) for word in item):
        if not any(word.strip() for word in item):
            raise _empty()
        return [item]
    raise DataError(
        f"An item of type {type(item).__name__} is no text.", "Give a text, a pair of texts or a list of words."
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise DataError(f"A text is of type {type(value).__name__}, not a string.", "Repair or remove it.")
    if not value.strip():
        raise _empty()
    return value


def _empty() -> DataError:
    return DataError("It holds no text.", "Remove it, or fill it in.")


def _shown(part: str | list[str]) -> str:
    text = repr(part)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _attempt(encode: Any, part: Any) -> Encoding | DataError:
    try:
        return encode(part)
    except DataError as error:
        return error


def _words_need_spaces(tokenizer: Tokenizer) -> bool:
    """True for byte-level tokenizers that do not put a space before a text themselves."""
    splitter = json.loads(tokenizer.to_str()).get("pre_tokenizer") or {}
    members = splitter.get("pretokenizers", [splitter])
    return any(one.get("type") == "ByteLevel" and not one.get("add_prefix_space", True) for one in members)
