"""A tokenizer for a network that starts from random numbers, trained on the text it will read.

WordPiece (Schuster and Nakajima, 2012; as in BERT) for encoders, byte-level BPE (Radford et al., 2019) for causal
models. Equal texts and settings give equal files, on any machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from zoo.console import say
from zoo.paths import cache_dir
from zoo.texts import CONFIG_FILE, TOKENIZER_FILE, load_tokenizer
from zoo_registry.errors import DataError, UsageError
from zoo_registry.specs import InputSpec

LARGEST = 30_000
SMALLEST = 1_000
DISTINCT_PER_TOKEN = 3
ALPHABET = 1_000
SPECIAL = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
END = "<|endoftext|>"
PREFIX = "##"
KINDS = ("wordpiece", "bytes")


def fit_tokenizer(
    input: InputSpec, inputs: Iterable[Any], *, vocabulary: int | None = None, kind: str = "wordpiece"
) -> InputSpec:
    """Train a tokenizer and keep it under ``cache_dir()/tokenizers``; the returned input's ``assets`` is its folder.

    Args:
        inputs: raw text items, gone through twice and never held: texts, pairs, lists of words, dicts of texts.
        vocabulary: how many tokens at most. None: a third of the distinct words, from 1,000 to 30,000. About half of
            the distinct words of a text occur once (Zipf) and another sixth twice: too rarely to learn a vector for
            each, so they are spelled with pieces that occur often.
        kind: ``"wordpiece"``: lower case, with [PAD] [UNK] [CLS] [SEP] [MASK] and the usual frame around one text or
            two; ``"bytes"``: any text unchanged, with <|endoftext|> and no frame.

    Raises:
        DataError: the items hold no word.
        UsageError: another ``kind``, or a vocabulary that cannot hold the special tokens.
    """
    if kind not in KINDS:
        raise UsageError(f"There is no tokenizer of kind {kind!r}.", f"Choose {' or '.join(KINDS)}.")
    least = 1 + (len(SPECIAL) if kind == "wordpiece" else 1 + len(pre_tokenizers.ByteLevel.alphabet()))
    if vocabulary is not None and vocabulary < least:
        raise UsageError(f"A vocabulary of {vocabulary} tokens is too small.", f"Give {least} or more.")
    if iter(inputs) is inputs:
        raise ValueError("The items are gone through twice: give a list or another iterable that starts afresh.")
    survey = _survey(inputs, kind)
    if not survey.distinct:
        raise DataError("There is no word to train a tokenizer on.", "Give data with text.")
    size = vocabulary or min(LARGEST, max(SMALLEST, survey.distinct // DISTINCT_PER_TOKEN))
    settings = json.dumps([survey.sha256, kind, size, input.size, 1])
    folder = cache_dir() / "tokenizers" / hashlib.sha256(settings.encode()).hexdigest()[:32]
    if not (folder / TOKENIZER_FILE).is_file():
        say(f"tokenizer: training {size:,} tokens at most on {survey.texts:,} texts")
        train = _wordpiece if kind == "wordpiece" else _byte_level
        _save(folder, train(inputs, size, survey.alphabet), kind, input)
    return replace(input, assets=str(folder))


def fit_causal_tokenizer(input: InputSpec, inputs: Iterable[Any], *, vocabulary: int | None = None) -> InputSpec:
    """:func:`fit_tokenizer` of the kind that causal language models read: byte-level BPE."""
    return fit_tokenizer(input, inputs, vocabulary=vocabulary, kind="bytes")


def vocabulary_of(input: InputSpec) -> int:
    """Rows an embedding table needs for the tokenizer in ``input.assets``: one more than its largest id.

    Raises:
        UsageError: the input has no tokenizer.
        WeightsError: it is missing or broken.
    """
    if not input.assets:
        raise UsageError(
            "A text network that starts from random numbers needs a tokenizer.",
            "Train on data with zoo finetune or zoo pretrain, which make one.",
        )
    return 1 + max(load_tokenizer(input.assets).get_vocab(with_added_tokens=True).values())


def texts_of(item: Any) -> Iterator[str]:
    """The texts of a raw item: itself, the members of a pair, the words of a sentence, a question and its context."""
    if isinstance(item, str):
        yield item
    elif isinstance(item, dict):
        yield from (str(item[name]) for name in ("question", "context") if name in item)
    elif item and isinstance(item, list):
        yield " ".join(map(str, item))
    else:
        yield from map(str, item)


@dataclass(frozen=True)
class _Survey:
    """What one pass over the texts tells: their hash and number, distinct words (as far as counted), characters."""

    sha256: str
    texts: int
    distinct: int
    alphabet: tuple[str, ...]


def _survey(inputs: Iterable[Any], kind: str) -> _Survey:
    digest, texts, words = hashlib.sha256(), 0, set[str]()
    characters: Counter[str] = Counter()
    normalizer = normalizers.BertNormalizer(lowercase=True)
    enough = LARGEST * DISTINCT_PER_TOKEN
    for item in inputs:
        for text in texts_of(item):
            # Lone surrogates, which some sources let through, have no UTF-8.
            data = text.encode("utf-8", "replace")
            digest.update(len(data).to_bytes(8, "little") + data)
            texts += 1
            if kind == "wordpiece":
                text = normalizer.normalize_str(data.decode())
                characters.update(text)
            if len(words) < enough:  # more change nothing, and would fill the memory
                words.update(text.split())
    ranked = sorted((-count, character) for character, count in characters.items() if not character.isspace())
    alphabet = tuple(sorted(character for _, character in ranked[:ALPHABET]))
    return _Survey(digest.hexdigest(), texts, len(words), alphabet)


def _clean(inputs: Iterable[Any]) -> Iterator[str]:
    for item in inputs:
        for text in texts_of(item):
            yield text.encode("utf-8", "replace").decode()


def _wordpiece(inputs: Iterable[Any], size: int, alphabet: tuple[str, ...]) -> Tokenizer:
    special = list(SPECIAL.values())
    tokenizer = _bert(models.WordPiece(unk_token=SPECIAL["unk"]))
    # The trainer numbers the pieces it meets inside words in the order of a hash table, and breaks ties by number.
    # Named beforehand they have the same numbers in every run; the alphabet is cut here for the same reason.
    inner = [PREFIX + character for character in alphabet]
    trainer = trainers.WordPieceTrainer(
        vocab_size=max(size, len(special) + 2 * len(alphabet)),
        special_tokens=[*special, *inner],
        initial_alphabet=list(alphabet),
        limit_alphabet=len(alphabet),
        continuing_subword_prefix=PREFIX,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_clean(inputs), trainer)
    # The trained tokenizer would find its inner pieces, special to the trainer, in plain text too.
    made = _bert(models.WordPiece(tokenizer.get_vocab(), unk_token=SPECIAL["unk"]))
    made.add_special_tokens(special)
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, made.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    return made


def _bert(model: Any) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix=PREFIX)
    return tokenizer


def _byte_level(inputs: Iterable[Any], size: int, alphabet: tuple[str, ...]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_clean(inputs), trainer)
    return tokenizer


def _save(folder: Path, tokenizer: Tokenizer, kind: str, input: InputSpec) -> None:
    names = {f"{name}_token": token for name, token in SPECIAL.items()}
    if kind == "bytes":
        names = {"bos_token": END, "eos_token": END}
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
    if input.size:
        config["model_max_length"] = input.size[0]
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
    try:
        tokenizer.save(str(partial / TOKENIZER_FILE))
        (partial / CONFIG_FILE).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        partial.chmod(0o755)
        try:
            os.replace(partial, folder)
        except OSError:
            # Another process was faster, with the same file; a folder without one is what a crash left.
            if not (folder / TOKENIZER_FILE).is_file():
                shutil.rmtree(folder, ignore_errors=True)
                os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
