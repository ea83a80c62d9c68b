"""An export folder, ready to predict with onnxruntime alone. Nothing here imports torch.

The folder holds ``model.onnx``, ``model.json`` and, for texts, ``tokenizer.json``: what ``zoo export`` wrote, verified
by hash before it is run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.data.dataset import Table
from zoo.kinds import Entries, Outcome, kind_of, model_facts
from zoo_registry.errors import DataError, MissingDependency, UsageError, ZooError

if TYPE_CHECKING:
    from zoo.serve_audio import AudioInput, Parts
    from zoo.serve_text import TextInput
    from zoo.texts import TextTokenizer

MODEL_FILE = "model.onnx"
META_FILE = "model.json"
FORMAT = "zoo-export"
SCHEMA_VERSION = 1
PAIRS = "pairs"
"""``task`` of an export of two towers (:mod:`zoo.serve_pairs`)."""

CPU = ("CPUExecutionProvider",)

_REEXPORT = "Export the run again with `zoo export RUN -o DIR`, or copy the whole folder again."


def sha256_of(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_export(path: Path) -> bool:
    """True where ``path`` looks like an export folder, intact or not."""
    return path.is_dir() and (path / META_FILE).is_file() and any(path.glob("*.onnx"))


def read_meta(folder: Path) -> dict[str, Any]:
    """The checked contents of an export's ``model.json``.

    Raises:
        UsageError: no such file, no JSON, or JSON that ``zoo export`` did not write.
    """
    path = folder / META_FILE
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"{folder} is not an export: {META_FILE} cannot be read ({error.strerror}).", _REEXPORT
        ) from None
    except ValueError as error:
        raise UsageError(f"{path} is not valid JSON ({error}).", _REEXPORT) from None
    needed = ("schema_version", "task", "labels", "preprocessing", "preprocess", "sha256")
    missing = [key for key in needed if not isinstance(meta, dict) or key not in meta]
    if missing or meta.get("format") != FORMAT:
        lacks = f" (it lacks {', '.join(missing)})" if missing else ""
        raise UsageError(f"{path} was not written by zoo export{lacks}.", _REEXPORT)
    if meta["schema_version"] > SCHEMA_VERSION:
        raise UsageError(
            f"{path} has schema version {meta['schema_version']}, newer than the {SCHEMA_VERSION} known here.",
            "Upgrade zookit.",
        )
    return meta


def verify(folder: Path, meta: dict[str, Any]) -> None:
    """Raise ZooError where a file of an export is missing or not the one that was exported, UsageError where
    ``model.json`` names one outside the folder."""
    for name, expected in meta["sha256"].items():
        # model.json may come from anywhere: a name with a folder in it must not make us read outside.
        if Path(name).name != name:
            raise UsageError(f"{folder / META_FILE} names a file outside its folder: {name}.", _REEXPORT)
        path = folder / name
        if not path.is_file():
            raise ZooError(f"{path} is missing.", _REEXPORT)
        found = sha256_of(path)
        if found != expected:
            raise ZooError(
                f"{path} is damaged or not the exported file: sha256 {found[:12]}…, expected {expected[:12]}….",
                _REEXPORT,
            )


class OnnxModel:
    """A verified export.

    Args:
        folder: what ``zoo export`` wrote.
        threads: intra-op threads of onnxruntime; 0 lets it choose.
        providers: onnxruntime execution providers, best first.

    Attributes:
        task: one of :data:`zoo.kinds.KINDS`.
        labels: class names in id order; empty where labels are no classes.
        meta: ``model.json``.
        texts: how texts are read; None for other inputs.
        sounds: how sounds are read; None for other inputs.

    Raises:
        UsageError: not an export, or one of another schema.
        ZooError: a file is missing, truncated, or not the one that was exported.
        MissingDependency: texts cannot be read without the package ``tokenizers``.
    """

    backend = "onnxruntime"

    def __init__(self, folder: str | Path, *, threads: int = 0, providers: Sequence[str] = CPU) -> None:
        self.path = Path(folder)
        self.meta = read_meta(self.path)
        self.task: str = self.meta["task"]
        if self.task == PAIRS:
            raise UsageError(
                f"{self.path} is an export of two towers, which knows no labels of its own.",
                "Open it with zoo.serve_pairs.OnnxPair, or predict with labels.",
            )
        self.labels: tuple[str, ...] = tuple(self.meta["labels"])
        self.in_graph = self.meta["preprocess"] == "graph"
        verify(self.path, self.meta)
        self.session = open_session(self.path / MODEL_FILE, threads=threads, providers=providers)
        self._inputs = tuple(one.name for one in self.session.get_inputs())
        self._token_level = kind_of(self.task).token_level
        kind = self.meta["preprocessing"].get("kind")
        self.texts = self._read_texts() if kind == "text" else None
        self.sounds = self._read_sounds() if kind == "audio" else None

    def _read_texts(self) -> TextInput:
        try:
            from zoo.serve_text import TextInput
        except ImportError as error:
            raise MissingDependency(
                f"Reading texts needs a package that is not installed ({error.name}).", "pip install tokenizers"
            ) from None
        return TextInput(self.path, self.meta, self._inputs)

    def _read_sounds(self) -> AudioInput:
        from zoo.serve_audio import AudioInput

        return AudioInput(self.meta, self._call)

    def decode(self, item: Any) -> np.ndarray:
        """One raw item as the graph's input: the path or the bytes of an image as float32 (C, H, W), or with the
        preprocessing in the graph uint8 (H, W, 3) of any size; a text as int32 (n, 3) (:mod:`zoo.texts`); a sound as
        int16 (n,) (:mod:`zoo.sounds`). An array is passed through.

        Raises:
            DataError: the item is missing or cannot be decoded.
            MissingDependency: the package that reads such files is not installed.
        """
        if isinstance(item, np.ndarray):
            return item
        if self.texts is not None:
            return self.texts.decode(item)
        if self.sounds is not None:
            return self.sounds.decode(item)
        kind = self.meta["preprocessing"].get("kind")
        if kind != "image":
            raise DataError(f"This export takes {kind} input.", "Pass arrays, or predict with the run folder.")
        try:
            from zoo import images
        except ImportError as error:
            raise MissingDependency(
                f"Reading images needs a package that is not installed ({error.name}).", "pip install pillow"
            ) from None
        return images.load_raw(item) if self.in_graph else images.load_image(item, self.meta["preprocessing"])

    def run(self, arrays: Sequence[np.ndarray]) -> tuple[Entries, Entries]:
        """Decoded items to (logits, scores), one entry each: probabilities (C,), or a value for regression; one row a
        token or frame where the task answers so. Images that are neighbours of one shape go through as one batch, texts
        and sounds with those of like length."""
        if self.task == "generation":
            raise UsageError(
                "An export of a language model tells the next token alone, so it cannot be measured on whole texts.",
                "Evaluate the run that it was made from.",
            )
        if self.texts is not None:
            outputs = self.texts.run(self._call, arrays, token_level=self._token_level)
            return outputs[0], outputs[-1]
        if self.sounds is not None:
            return self.sounds.run(arrays)
        logits, scores = [], []
        for _, group in groupby(arrays, key=lambda array: array.shape):
            one = self._call({self._inputs[0]: np.stack(list(group))})
            logits.append(one[0])
            scores.append(one[1])
        return np.concatenate(logits), np.concatenate(scores)

    def feed(self, arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Decoded items as one batch of the graph's inputs."""
        if self.sounds is not None:
            return self.sounds.feed(arrays)
        return self.texts.feed(arrays) if self.texts is not None else {self._inputs[0]: np.stack(list(arrays))}

    def next_logits(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Token ids and which of them are real, (B, N) int64 each, padded at the end -> (B, V) logits of the token that
        follows each text (generation alone)."""
        return self._call({"input_ids": ids, "attention_mask": mask})[0]

    def generate(self, prompts: Sequence[str], max_new_tokens: int | None = None) -> list[str]:
        """How each prompt goes on, by greedy decoding (generation alone); see :func:`zoo.continuing.continue_texts`.

        Raises:
            DataError: a prompt is no text.
            UsageError: ``max_new_tokens`` alone fill the longest input.
        """
        from zoo.continuing import continue_texts

        found = []
        for one in continue_texts(self, prompts, max_new_tokens):
            if isinstance(one, DataError):
                raise one
            found.append(one)
        return found

    @property
    def parts(self) -> Parts | None:
        """How recordings go through the graph; None where it takes no sound."""
        return self.sounds.parts if self.sounds is not None else None

    @property
    def tokens(self) -> TextTokenizer:
        """The tokenizer of a text model."""
        assert self.texts is not None
        return self.texts.tokens

    def _call(self, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        found: list[np.ndarray] = self.session.run(None, feed)
        return found

    def rows(self, table: Table) -> Table:
        """The model's samples of a table of raw inputs: each its own, or the windows of long texts."""
        if self.texts is not None:
            return self.texts.rows(table)
        return Table({**table.columns, "owner": list(range(len(table)))})

    def predict(self, items: Sequence[Any]) -> list[dict[str, Any]]:
        """Paths, bytes, arrays, texts or sounds to ``[{"label", "score", "scores"}]`` (see :mod:`zoo.kinds`)."""
        if not items:
            return []
        rows = self.rows(Table({"input": list(items)}))
        arrays = [self.decode(item) for item in rows.columns["input"]]
        facts = model_facts(self.meta, self.parts.hop if self.parts else 0)
        outcome = Outcome(self.run(arrays)[1], rows.columns["input"], arrays, rows.columns["owner"], **facts)
        return kind_of(self.task).predictions(outcome, self.labels)


def open_session(path: Path, *, threads: int = 0, providers: Sequence[str] = CPU) -> Any:
    """An onnxruntime session, quiet about what does not matter.

    Raises:
        ZooError: the file is no ONNX model that this onnxruntime can run.
    """
    try:
        import onnxruntime
    except ImportError:
        raise MissingDependency("onnxruntime is not installed.", "pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=list(providers))
    except Exception as error:  # onnxruntime's own exception classes are private and share no base
        reason = str(error).splitlines()[0][:200]
        raise ZooError(f"onnxruntime cannot load {path}: {reason}", _REEXPORT) from None
