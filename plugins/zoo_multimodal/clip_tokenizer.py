"""How open_clip's models read texts, as ``tokenizer.json`` and pipelines on it. Imports no torch by itself.

open_clip cleans a text (ftfy, HTML entities, white space, lower case) before its tokenizer sees it. Here cleaning is
the normalizer inside ``tokenizer.json``, so that training, serving and other programs clean alike with the tokenizers
library alone. What a normalizer cannot do, and where token ids may therefore differ from open_clip's: repairing
mis-decoded text ("schÃ¶n" stays as it is), terminal escapes, C1 control characters, half-width Japanese, and HTML
entities other than those of ``& < > " '`` and the no-break space.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from zoo.paths import cache_dir
from zoo.texts import CONFIG_FILE, TOKENIZER_FILE, load_tokenizer
from zoo_multimodal.clip_cleaning import canonical, lower, repairs, spaces
from zoo_registry.builders import load_builder
from zoo_registry.errors import MissingDependency, WeightsError
from zoo_registry.specs import InputSpec, ModelSpec

if TYPE_CHECKING:
    from zoo.protocols import Pipeline

VERSION = 1
"""Raised whenever the files made here change for the same sources."""

START, END = "<start_of_text>", "<end_of_text>"
MERGES = 49152 - 256 - 2
SPLIT = r"<start_of_text>|<end_of_text>|(?i:'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"

VOCABULARY = "bpe_simple_vocab_16e6.txt.gz"
INSTALL = "Install it: pip install 'zookit[multimodal]'"

TEXT_PIPELINE = "zoo_text.pipeline:text_pipeline"
SIDE_FILES = (CONFIG_FILE, "special_tokens_map.json")


def clip_text_pipeline(input_spec: InputSpec) -> Pipeline:
    """The text pipeline of models that read CLIP's byte pairs (Radford et al. 2021, arXiv:2103.00020): needs no file,
    since open_clip brings the vocabulary. A tokenizer among the assets (of a run) comes first.

    Raises:
        PluginError, UsageError: as :class:`zoo_text.pipeline.TextPipeline`.
    """
    if not _has_tokenizer(input_spec.assets):
        input_spec = replace(input_spec, assets=str(clip_tokenizer_folder()))
    return _text_pipeline(input_spec)


def plain_text_pipeline(input_spec: InputSpec) -> Pipeline:
    """The text pipeline of models with a tokenizer of their own, in ``input_spec.assets``.

    Raises:
        WeightsError: it is not there, or broken.
        PluginError, UsageError: as :class:`zoo_text.pipeline.TextPipeline`.
    """
    return _text_pipeline(_cleaned(input_spec, "plain"))


def canonical_text_pipeline(input_spec: InputSpec) -> Pipeline:
    """As :func:`plain_text_pipeline`, of models that read lower case without punctuation (SigLIP, Zhai et al. 2023,
    arXiv:2303.15343)."""
    return _text_pipeline(_cleaned(input_spec, "canonical"))


def needs_tokenizer(input: InputSpec, inputs: Iterable[Any], spec: ModelSpec | None = None) -> InputSpec:
    """``fit_input`` of pairs and text towers with a tokenizer of their own: a few of its ids are fixed in the network,
    so none is trained in its place.

    Raises:
        WeightsError: there is none in ``input.assets``.
    """
    if not _has_tokenizer(input.assets):
        raise _no_tokenizer(input.assets)
    return input


def clip_tokenizer_folder() -> Path:
    """Folder with CLIP's ``tokenizer.json``, made of open_clip's vocabulary when first asked for.

    Raises:
        MissingDependency: open_clip is not installed.
    """
    # Found without importing open_clip, which takes seconds.
    package = importlib.util.find_spec("open_clip")
    if package is None or not package.submodule_search_locations:
        raise MissingDependency("CLIP's tokenizer comes with open_clip, which is not installed.", INSTALL)
    data = Path(package.submodule_search_locations[0], VOCABULARY).read_bytes()
    folder = cache_dir() / "tokenizers" / f"clip-{VERSION}-{hashlib.sha256(data).hexdigest()[:16]}"
    if not _has_tokenizer(str(folder)):
        names = {"bos_token": START, "eos_token": END}
        _write(folder, clip_tokenizer(data).to_str(), {CONFIG_FILE: json.dumps(names, indent=2) + "\n"})
    return folder


def clip_tokenizer(data: bytes) -> Tokenizer:
    """CLIP's tokenizer from the gzipped list of merges that open_clip ships."""
    lines = gzip.decompress(data).decode("utf-8").split("\n")[1 : MERGES + 1]
    merges = [(first, second) for first, second in map(str.split, lines)]
    symbols = _byte_symbols()
    tokens = [*symbols, *(f"{symbol}</w>" for symbol in symbols), *map("".join, merges), START, END]
    vocabulary = {token: place for place, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, end_of_word_suffix="</w>", fuse_unk=False))
    tokenizer.normalizer = normalizers.Sequence([*repairs(), *lower(), *spaces()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    # Found in cleaned text, as open_clip finds them.
    tokenizer.add_special_tokens([AddedToken(name, normalized=True, special=True) for name in (START, END)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}",
        pair=f"{START} $A {END} $B:1 {END}:1",
        special_tokens=[(name, vocabulary[name]) for name in (START, END)],
    )
    return tokenizer


def _text_pipeline(input_spec: InputSpec) -> Pipeline:
    return load_builder(TEXT_PIPELINE, ("tokenizers",), "text")(input_spec)


def _has_tokenizer(assets: str) -> bool:
    return bool(assets) and Path(assets, TOKENIZER_FILE).is_file()


def _no_tokenizer(assets: str) -> WeightsError:
    return WeightsError(
        f"This model reads texts with a tokenizer of its own, and there is no {TOKENIZER_FILE} "
        f"{'in ' + assets if assets else 'without weights'}.",
        f"Use its published weights, which come with {TOKENIZER_FILE}, or lay that file beside --weights FILE. Models "
        "that read CLIP's tokens, such as ViT-B-32, need none.",
    )


def _cleaned(input_spec: InputSpec, how: str) -> InputSpec:
    """The contract with a tokenizer that cleans texts before it does anything else."""
    if not _has_tokenizer(input_spec.assets):
        raise _no_tokenizer(input_spec.assets)
    source = Path(input_spec.assets)
    tokenizer = load_tokenizer(source)
    steps = [*repairs(), *(canonical() if how == "canonical" else ()), *spaces(), normalizers.Strip()]
    first = json.loads(normalizers.Sequence(steps).__getstate__())["normalizers"]
    described = json.loads(tokenizer.to_str())
    own = described["normalizer"]
    members = own["normalizers"] if own and own["type"] == "Sequence" else [own] if own else []
    if members[: len(first)] == first:  # out of a run: it was made here
        return input_spec
    described["normalizer"] = {"type": "Sequence", "normalizers": [*first, *members]}
    text = json.dumps(described, ensure_ascii=False)
    beside = {name: (source / name).read_text("utf-8") for name in SIDE_FILES if (source / name).is_file()}
    digest = hashlib.sha256("\0".join([text, *beside.values()]).encode()).hexdigest()[:32]
    folder = cache_dir() / "tokenizers" / f"clean-{digest}"
    if not _has_tokenizer(str(folder)):
        _write(folder, text, beside)
    return replace(input_spec, assets=str(folder))


@cache
def _byte_symbols() -> tuple[str, ...]:
    """Byte-level BPE's character of each byte, printable bytes first: the order of CLIP's vocabulary."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = sum(byte not in printable for byte in range(256))
    return (*map(chr, printable), *(chr(256 + place) for place in range(others)))


def _write(folder: Path, tokenizer: str, beside: dict[str, str]) -> None:
    """Make ``folder`` whole or not at all; another process may be making the same."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
    try:
        for name, text in {TOKENIZER_FILE: tokenizer, **beside}.items():
            (partial / name).write_text(text, encoding="utf-8")
        partial.chmod(0o755)
        try:
            os.replace(partial, folder)
        except OSError:
            if not _has_tokenizer(str(folder)):
                shutil.rmtree(folder, ignore_errors=True)
                os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
