"""Texts to tensors: tokenised once, then padded masks per batch on the device."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from zoo import texts
from zoo.paths import cache_dir
from zoo.protocols import RAGGED, Backbone, Batch, Draws, LanguageModel
from zoo_registry.errors import PluginError, WeightsError
from zoo_registry.specs import InputSpec

OLDER_FILES = ("vocab.txt", "vocab.json", "merges.txt", "spm.model", "spiece.model", "sentencepiece.bpe.model")
"""Files that described a tokenizer before ``tokenizer.json`` did."""

NETWORK_FILES = ("config.json", "1_Pooling/config.json")
"""Files of the same folder from which a network is built again (see :mod:`zoo_text.transformers_backbone`)."""


class TextPipeline:
    """A :class:`zoo.protocols.Pipeline` for one tokenizer and longest input; also Portable.

    ``decode`` gives int32 (n, 3), see :mod:`zoo.texts`. ``prepare`` and ``augment``, which vary nothing, turn a padded
    batch of them into ``input_ids``, ``attention_mask``, ``token_type_ids`` and ``word``, each (B, N) int64.

    Args:
        input_spec: ``size`` (longest input in tokens,) and ``assets``, the folder of the tokenizer.

    Attributes:
        tokens: the tokenizer with its longest input, special ids, offsets.
        tokenizer: the bare ``tokenizers.Tokenizer``, without truncation and padding.
        special: ids of the special tokens.
        max_length: longest item in tokens.

    Raises:
        PluginError: no usable text contract.
        WeightsError: the tokenizer is missing or broken.
        UsageError: the longest input leaves no room for text.
    """

    modality = "text"
    input_name = "tokens"
    dtype: np.dtype[Any] = np.dtype(np.int32)
    shape: tuple[int, ...] = (RAGGED, texts.CHANNELS)

    def __init__(self, input_spec: InputSpec) -> None:
        if input_spec.modality != "text" or len(input_spec.size) != 1 or input_spec.size[0] < 1:
            raise PluginError(
                f"Texts cannot be prepared for modality {input_spec.modality!r} and size {input_spec.size}.",
                "Correct the InputSpec of the model or weights in its plugin: size is (longest input in tokens,).",
            )
        folder = tokenizer_folder(input_spec.assets)
        self.input = input_spec
        self.tokens = texts.open_tokenizer(folder, input_spec.size[0])
        self.tokenizer: Tokenizer = self.tokens.tokenizer
        self.special = self.tokens.special
        self.max_length = self.tokens.max_length
        self.key = f"text/v{texts.VERSION}/{self.tokens.sha256}/{self.max_length}"

    def decode(self, item: Any) -> np.ndarray:
        """A text, a pair of texts, a list of words or a question with its context as int32 (n, 3).

        Raises:
            DataError: no text, or an empty one.
        """
        return self.tokens.encode(item)

    def decode_batch(self, items: Sequence[Any]) -> list[np.ndarray | Exception]:
        """:meth:`decode` of many items in parallel; the DataError in its place where one cannot be read."""
        return list(self.tokens.encode_batch(items))

    def count_cut(self, items: Iterable[Any]) -> int:
        """How many items lose tokens to ``max_length``; only those as long as it can be among them."""
        return self.tokens.count_cut(items)

    def prepare(self, batch: Batch) -> Batch:
        """``tokens`` (B, N, 3) and ``length`` (B,) -> the network's inputs; every other tensor is kept. ``tokens`` may
        also be bare ids (B, N), as out of a stream; without ``length`` all of them are real."""
        tokens = batch["tokens"].long()
        place = torch.arange(tokens.shape[1], device=tokens.device)[None]
        real = place < (batch["length"][:, None] if "length" in batch else tokens.shape[1])
        real = real.expand(tokens.shape[:2])
        if tokens.dim() == 2:
            tokens = self._channels(tokens)
        rest = {name: value for name, value in batch.items() if name not in ("tokens", "length")}
        return {
            **rest,
            "input_ids": torch.where(real, tokens[..., 0], self.special.filler),
            "attention_mask": real.long(),
            "token_type_ids": torch.where(real, tokens[..., 1], 0),
            "word": torch.where(real, tokens[..., 2], -1),
        }

    def augment(self, batch: Batch, draws: Draws) -> Batch:
        """:meth:`prepare`: texts are not varied."""
        return self.prepare(batch)

    def pieces(self, texts: Sequence[str], packed: bool) -> list[list[np.ndarray]]:
        """See :meth:`zoo.texts.TextTokenizer.pieces`."""
        return self.tokens.pieces(texts, packed)

    def _channels(self, ids: Tensor) -> Tensor:
        """Bare ids (B, N) as (B, N, 3): one segment, words as the tokens' own marks tell them."""
        starts = torch.from_numpy(self.tokens.word_starts).to(ids.device)[ids]
        # Text may begin with a token that is not marked: whatever follows a special token begins a word.
        special = torch.tensor(self.special.ids, device=ids.device)
        is_special = torch.isin(ids, special)
        after = torch.nn.functional.pad(is_special, (1, 0), value=True)[:, :-1]
        starts = (starts | after) & ~is_special
        words = torch.where(starts, starts.cumsum(dim=1) - 1, -1)
        return torch.stack([ids, torch.zeros_like(ids), words], dim=-1)

    def check_backbone(self, backbone: Backbone) -> None:
        """A tokenizer may know fewer tokens than its network, never more.

        Raises:
            WeightsError: it knows more, so it belongs to other weights.
        """
        if isinstance(backbone, LanguageModel) and self.tokens.vocabulary > backbone.vocabulary:
            raise WeightsError(
                f"The tokenizer has {self.tokens.vocabulary:,} tokens, but {backbone.spec.name} with these weights "
                f"knows {backbone.vocabulary:,}.",
                "Put the tokenizer.json that belongs to the weights beside them.",
            )

    def describe(self) -> dict[str, Any]:
        """What :func:`zoo.texts.from_description` needs besides ``tokenizer.json``."""
        return self.tokens.describe()

    def save_assets(self, folder: Path) -> None:
        """Write ``tokenizer.json``, the names of the special tokens, and what there is to describe the network."""
        self.tokens.save(folder)
        for name in NETWORK_FILES:
            source, target = Path(self.input.assets, name), folder / name
            if source.is_file() and source.resolve() != target.resolve():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)


def text_pipeline(input_spec: InputSpec) -> TextPipeline:
    """The pipeline of every text model; errors as :class:`TextPipeline`."""
    return TextPipeline(input_spec)


def tokenizer_folder(assets: str) -> Path:
    """The folder that holds ``tokenizer.json``: ``assets``, or a cached conversion of the older files there.

    Raises:
        WeightsError: there is no tokenizer, or it cannot be converted.
    """
    folder = Path(assets)
    if assets and (folder / texts.TOKENIZER_FILE).is_file():
        return folder
    older = [folder / name for name in OLDER_FILES if assets and (folder / name).is_file()]
    if not older:
        raise WeightsError(
            f"There is no tokenizer in {assets or 'the input contract of this model'}.",
            f"Copy the model's {texts.TOKENIZER_FILE} beside its weights; with --weights none one is trained.",
        )
    digest = hashlib.sha256()
    for path in [*older, folder / texts.CONFIG_FILE, folder / "config.json"]:
        digest.update(path.name.encode() + b"\0" + (path.read_bytes() if path.is_file() else b"") + b"\0")
    target = cache_dir() / "tokenizers" / digest.hexdigest()
    if not (target / texts.TOKENIZER_FILE).is_file():
        _convert(folder, target)
    return target


def _convert(folder: Path, target: Path) -> None:
    """Let transformers turn older files into ``tokenizer.json``."""
    from transformers import AutoTokenizer

    try:
        loaded: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        text = loaded.backend_tokenizer.to_str()
    except Exception as error:  # each tokenizer class fails in its own way on files it does not know
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160].rstrip(".")
        raise WeightsError(
            f"The tokenizer in {folder} cannot be read: {reason}.", f"Supply its {texts.TOKENIZER_FILE}."
        ) from error
    target.mkdir(parents=True, exist_ok=True)
    if (folder / texts.CONFIG_FILE).is_file():
        shutil.copyfile(folder / texts.CONFIG_FILE, target / texts.CONFIG_FILE)
    temporary = target / f".{os.getpid()}.tmp"
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(target / texts.TOKENIZER_FILE)
