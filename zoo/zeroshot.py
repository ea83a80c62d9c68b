"""Classifying without training, with a model of pairs and the names of the classes (Radford et al., "Learning
transferable visual models from natural language supervision", 2021). Imports no torch. B batch, C classes, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from zoo.data.dataset import Table
from zoo.kinds import Entries
from zoo.prompts import BARE, TEMPLATES, sentences
from zoo.targets import each_its_own
from zoo_registry.errors import UsageError

if TYPE_CHECKING:
    from zoo.serve_audio import Parts

TEXT = "text"
SMALLEST = 1e-12


class Pair(Protocol):
    """A model of pairs that is opened: :class:`zoo.serve_pairs.OnnxPair` and :class:`zoo.torch_pair.TorchPair`.

    Attributes:
        backend: ``"torch"`` or ``"onnxruntime"``.
        meta: what is known of it; ``preprocessing`` is the description of its :class:`zoo.pairs.PairPipeline`.
        modalities: of the two sides.
        scale, bias: logits are ``scale * cosine + bias``.
    """

    backend: str
    meta: dict[str, Any]
    modalities: tuple[str, str]
    scale: float
    bias: float

    def decode(self, modality: str, item: Any) -> np.ndarray:
        """One raw item of a side, as its network's pipeline decodes it. Raises DataError where it cannot."""
        ...

    def encode(self, modality: str, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Decoded items of a side -> (B, D) float32 unit vectors; of a long recording the mean over its windows."""
        ...

    def parts(self, modality: str) -> Parts | None:
        """How recordings go through a side; None where it takes no sound."""
        ...


def class_vectors(
    encode: Callable[[list[str]], np.ndarray], labels: Sequence[str], templates: Sequence[str]
) -> np.ndarray:
    """Unit vectors (C, D) of class names: the mean of the unit vectors of each name in each template, made unit.

    Args:
        encode: texts to their unit vectors (B, D).

    Raises:
        UsageError: a template without ``{}``.
    """
    texts = [text for label in labels for text in sentences(label, templates)]
    return unit(encode(texts).reshape(len(labels), len(templates), -1).mean(axis=1))


def unit(vectors: np.ndarray) -> np.ndarray:
    """(..., D), each divided by its length."""
    found: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), SMALLEST)
    return found


def classified_side(pair: Pair) -> str:
    """The modality that is classified by texts.

    Raises:
        UsageError: the model reads no texts.
    """
    if TEXT not in pair.modalities:
        raise no_text_tower(pair.meta["model_id"], pair.modalities)
    return next(modality for modality in pair.modalities if modality != TEXT)


def no_text_tower(model_id: str, modalities: Sequence[str]) -> UsageError:
    """What is said where labels are given to a model of other pairs."""
    return UsageError(
        f"{model_id} has no text tower (it takes {' and '.join(modalities)}), so labels mean nothing to it.",
        "Choose a model of images and texts, or finetune a tower on labelled data.",
    )


class ZeroShot:
    """A model of pairs as a classifier between labels: a :class:`zoo.targets.Model`.

    Args:
        pair: the model.
        labels: names of the classes.
        templates: sentences with ``{}`` for the name; None: those of :data:`zoo.prompts.TEMPLATES`.

    Attributes:
        side: the modality that is classified.
        classes: (C, D) unit vectors.

    Raises:
        UsageError: no text tower, or a template without ``{}``.
    """

    task = "classification"

    def __init__(self, pair: Pair, labels: Sequence[str], templates: Sequence[str] | None = None) -> None:
        self.pair = pair
        self.side = classified_side(pair)
        self.labels = tuple(labels)
        self.templates = tuple(TEMPLATES.get(self.side, BARE) if templates is None else templates)
        self.backend = pair.backend
        self.parts = pair.parts(self.side)
        self.meta: dict[str, Any] = {
            "model_id": pair.meta["model_id"],
            "input": {"modality": self.side},
            "preprocessing": pair.meta["preprocessing"]["parts"][self.side],
        }
        self.classes = class_vectors(self._texts, self.labels, self.templates)

    def _texts(self, texts: list[str]) -> np.ndarray:
        return self.pair.encode(TEXT, [self.pair.decode(TEXT, text) for text in texts])

    def rows(self, table: Table) -> Table:
        """Each input is its own sample."""
        return each_its_own(table)

    def decode(self, item: Any) -> np.ndarray:
        """One raw item of the classified side."""
        return self.pair.decode(self.side, item)

    def run(self, arrays: Sequence[np.ndarray]) -> tuple[Entries, Entries]:
        """Decoded samples to logits (B, C) and their softmax over the labels given. A bias, which is the same for all
        labels, changes no score."""
        logits = self.pair.scale * self.pair.encode(self.side, arrays) @ self.classes.T + self.pair.bias
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        return logits, raised / raised.sum(axis=1, keepdims=True)
