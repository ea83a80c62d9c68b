"""An export folder, ready to predict with onnxruntime alone. Nothing here imports torch.

The folder holds ``model.onnx`` and ``model.json``: what ``zoo export`` wrote, verified by hash before it is run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from zoo_registry.errors import DataError, MissingDependency, UsageError, ZooError

MODEL_FILE = "model.onnx"
META_FILE = "model.json"
FORMAT = "zoo-export"
SCHEMA_VERSION = 1
CPU = ("CPUExecutionProvider",)

_REEXPORT = "Export the run again with `zoo export RUN -o DIR`, or copy the whole folder again."


def sha256_of(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_export(path: Path) -> bool:
    """True where ``path`` looks like an export folder, intact or not."""
    return path.is_dir() and (path / MODEL_FILE).is_file() and (path / META_FILE).is_file()


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


class OnnxModel:
    """A verified export.

    Args:
        folder: what ``zoo export`` wrote.
        threads: intra-op threads of onnxruntime; 0 lets it choose.
        providers: onnxruntime execution providers, best first.

    Attributes:
        task: ``"classification"``, ``"multi-label"`` or ``"regression"``.
        labels: class names in id order; empty for regression.
        meta: ``model.json``.

    Raises:
        UsageError: not an export, or one of another schema.
        ZooError: ``model.onnx`` is missing, truncated, or not the file that was exported.
    """

    backend = "onnxruntime"

    def __init__(self, folder: str | Path, *, threads: int = 0, providers: Sequence[str] = CPU) -> None:
        self.path = Path(folder)
        self.meta = read_meta(self.path)
        self.task: str = self.meta["task"]
        self.labels: tuple[str, ...] = tuple(self.meta["labels"])
        self.in_graph = self.meta["preprocess"] == "graph"
        self._verify()
        self.session = open_session(self.path / MODEL_FILE, threads=threads, providers=providers)
        self._input = self.session.get_inputs()[0].name

    def _verify(self) -> None:
        for name, expected in self.meta["sha256"].items():
            # model.json may come from anywhere: a name with a folder in it must not make us read outside.
            if Path(name).name != name:
                raise UsageError(f"{self.path / META_FILE} names a file outside its folder: {name}.", _REEXPORT)
            path = self.path / name
            if not path.is_file():
                raise ZooError(f"{path} is missing.", _REEXPORT)
            found = sha256_of(path)
            if found != expected:
                raise ZooError(
                    f"{path} is damaged or not the exported file: sha256 {found[:12]}…, expected {expected[:12]}….",
                    _REEXPORT,
                )

    def decode(self, item: Any) -> np.ndarray:
        """One path, or the bytes of one file, as the array the graph takes: float32 (C, H, W), or with the
        preprocessing in the graph uint8 (H, W, 3) of any size. An array is passed through.

        Raises:
            DataError: the item is missing or cannot be decoded.
        """
        if isinstance(item, np.ndarray):
            return item
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

    def run(self, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Decoded arrays to (logits, scores), one row each. Neighbours of one shape go through as one batch.

        Scores are probabilities (B, C), or values (B,) for regression.
        """
        logits, scores = [], []
        for _, group in groupby(arrays, key=lambda array: array.shape):
            one = self.session.run(["logits", "scores"], {self._input: np.stack(list(group))})
            logits.append(one[0])
            scores.append(one[1])
        return np.concatenate(logits), np.concatenate(scores)

    def predict(self, items: Sequence[Any]) -> list[dict[str, Any]]:
        """Paths, bytes or arrays to ``[{"label", "score", "scores"}]`` (see :func:`as_prediction`)."""
        if not items:
            return []
        _, scores = self.run([self.decode(item) for item in items])
        return [as_prediction(row, self.task, self.labels) for row in scores]


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


def as_prediction(scores: np.ndarray, task: str, labels: Sequence[str]) -> dict[str, Any]:
    """One row of scores in user terms.

    Classification: the best label, its probability, all probabilities by label. Multi-label: ``label`` lists every
    label of probability 0.5 and more, ``score`` is the highest probability. Regression: ``label`` is None, ``score``
    the value, ``scores`` empty.
    """
    if task == "regression":
        return {"label": None, "score": float(np.ravel(scores)[0]), "scores": {}}
    by_label = {label: float(score) for label, score in zip(labels, scores, strict=True)}
    best = int(np.argmax(scores))
    if task == "multi-label":
        chosen: Any = [label for label, score in by_label.items() if score >= 0.5]
    else:
        chosen = labels[best]
    return {"label": chosen, "score": float(scores[best]), "scores": by_label}
