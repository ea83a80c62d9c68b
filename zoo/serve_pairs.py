"""An export of a model of pairs: a graph for each side, run with onnxruntime alone. Nothing here imports torch.

The folder holds ``MODALITY.onnx`` for both sides (``image.onnx``, ``text.onnx``), ``model.json`` and, for texts,
``tokenizer.json``. Each graph gives unit ``vectors`` (B, D); that of texts also ``scaled``, the same times the factor
on cosines, so that ``vectors @ scaled.T + bias`` are logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.serve_audio import Parts, graph_inputs, hear_vectors, windows_for
from zoo.serve_model import CPU, PAIRS, is_export, open_session, read_meta, verify
from zoo_registry.errors import MissingDependency, UsageError

if TYPE_CHECKING:
    from zoo.serve_text import TextInput

VECTORS, SCALED = "vectors", "scaled"

IMAGES_AT_ONCE = 32


def graph_file(modality: str) -> str:
    """Name of a side's graph."""
    return f"{modality}.onnx"


class OnnxPair:
    """A verified export of a model of pairs: a :class:`zoo.zeroshot.Pair`.

    Args:
        folder: what ``zoo export`` wrote.
        threads: intra-op threads of onnxruntime; 0 lets it choose.
        providers: onnxruntime execution providers, best first.

    Raises:
        UsageError: no export of a model of pairs.
        ZooError: a file is missing, truncated, or not the one that was exported.
        MissingDependency: texts cannot be read without the package ``tokenizers``.
    """

    backend = "onnxruntime"

    def __init__(self, folder: str | Path, *, threads: int = 0, providers: Sequence[str] = CPU) -> None:
        self.path = Path(folder)
        self.meta = read_meta(self.path)
        if self.meta["task"] != PAIRS:
            raise UsageError(f"{self.path} is an export of one network, not of two towers.", "Use OnnxModel for it.")
        verify(self.path, self.meta)
        first, second = self.meta["modalities"]
        self.modalities: tuple[str, str] = (first, second)
        self.scale = float(self.meta["logit_scale"])
        self.bias = float(self.meta["logit_bias"])
        self.described: dict[str, dict[str, Any]] = self.meta["preprocessing"]["parts"]
        self.sessions = {
            modality: open_session(self.path / graph_file(modality), threads=threads, providers=providers)
            for modality in self.modalities
        }
        self.texts = self._read_texts() if "text" in self.modalities else None

    def _read_texts(self) -> TextInput:
        try:
            from zoo.serve_text import TextInput
        except ImportError as error:
            raise MissingDependency(
                f"Reading texts needs a package that is not installed ({error.name}).", "pip install tokenizers"
            ) from None
        names = [one.name for one in self.sessions["text"].get_inputs()]
        meta = {"task": PAIRS, "preprocessing": self.described["text"], "precision": self.meta["precision"]}
        return TextInput(self.path, meta, names)

    def decode(self, modality: str, item: Any) -> np.ndarray:
        """One raw item of a side: an image as float32 (C, H, W), a text as int32 (n, 3), a sound as int16 (n,).

        Raises:
            DataError: it is missing or cannot be decoded.
            MissingDependency: the package that reads such files is not installed.
        """
        if self.texts is not None and modality == "text":
            return self.texts.decode(item)
        if modality == "audio":
            from zoo.sounds import open_sound

            return open_sound(item, self.described[modality]["rate"])
        try:
            from zoo import images
        except ImportError as error:
            raise MissingDependency(
                f"Reading images needs a package that is not installed ({error.name}).", "pip install pillow"
            ) from None
        return images.load_image(item, self.described[modality])

    def parts(self, modality: str) -> Parts | None:
        """Windows of long recordings; None for other sides."""
        return windows_for(self.described[modality]) if modality == "audio" else None

    def encode(self, modality: str, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Decoded items of a side -> (B, D) float32 unit vectors."""
        session = self.sessions[modality]

        def call(feed: dict[str, np.ndarray]) -> list[np.ndarray]:
            return session.run([VECTORS], feed)

        if self.texts is not None and modality == "text":
            return np.stack(self.texts.run(call, arrays, token_level=False)[0])
        if (parts := self.parts(modality)) is not None:
            names = [one.name for one in session.get_inputs()]

            def forward(some: Sequence[np.ndarray]) -> np.ndarray:
                inputs = graph_inputs(some)
                return call({name: inputs[name] for name in names})[0]

            return hear_vectors(parts, arrays, forward)
        name, found = session.get_inputs()[0].name, []
        for _, group in groupby(arrays, key=lambda array: array.shape):
            same = list(group)
            for start in range(0, len(same), IMAGES_AT_ONCE):
                found.append(call({name: np.stack(same[start : start + IMAGES_AT_ONCE])})[0])
        return np.concatenate(found)


def is_pair_export(folder: Path) -> bool:
    """True where the folder is an export of a model of pairs, intact or not.

    Raises:
        UsageError: its ``model.json`` was not written by an export.
    """
    return is_export(folder) and read_meta(folder)["task"] == PAIRS
