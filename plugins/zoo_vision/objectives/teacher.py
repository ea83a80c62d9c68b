"""Any trained image network as a teacher: its features, and its logits where its classifier is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import zoo
from zoo.console import say
from zoo.protocols import Features
from zoo.towers import run_model
from zoo.trained import load_trained
from zoo.weights import identify_weights, load_backbone
from zoo.weights.read import read_state
from zoo_registry.builders import load_builder
from zoo_registry.errors import UsageError
from zoo_registry.specs import InputSpec


class Teacher(nn.Module):
    """A frozen network with its classifier, always in evaluation mode.

    Args:
        backbone: a :class:`zoo.protocols.Backbone` of images.
        classifier: Features -> logits (B, K), or None where there is none.
        student: the input contract that images come in.
        size: side of the images it is shown, in pixels; 0: those of the student, or its own where that is fixed.

    Attributes:
        dim: width of its features.
        classes: K, 0 without a classifier.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, backbone: Any, classifier: Any, classes: int, student: InputSpec, size: int) -> None:
        super().__init__()
        own: InputSpec = backbone.input
        self.backbone, self.classifier = backbone, classifier
        self.dim, self.classes = int(backbone.dim), classes
        self.size = tuple(own.size[1:]) if own.fixed_size else (size, size) if size else tuple(student.size[1:])
        # From the student's normalisation to the teacher's: one scale and one offset a channel.
        scale = torch.tensor(student.std) / torch.tensor(own.std)
        offset = (torch.tensor(student.mean) - torch.tensor(own.mean)) / torch.tensor(own.std)
        self.register_buffer("scale", scale.float()[:, None, None], persistent=False)
        self.register_buffer("offset", offset.float()[:, None, None], persistent=False)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Teacher:
        """A teacher does not learn: dropout and batch statistics stay off."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, image: Tensor, layers: bool = False) -> tuple[Features, Tensor | None]:
        """(B, C, H, W) normalised for the student -> features, with the maps of all layers if asked for, and logits
        (B, K) float32 or None."""
        if tuple(image.shape[2:]) != self.size:
            image = F.interpolate(image, self.size, mode="bicubic", align_corners=False)
        image = torch.addcmul(self.offset, image, self.scale)
        features: Features = self.backbone({"image": image}, ("pooled", "layers") if layers else ("pooled",))
        logits = None if self.classifier is None else self.classifier(features).float()
        return features, logits


def load_teacher(name: str, student: InputSpec, size: int = 0) -> Teacher:
    """A teacher by model name (``efficientnet_lite0``, ``resnet50@a1_in1k``) or the folder of a finetuned or pretrained
    run.

    Raises:
        UsageError: it takes no images, or images of other channels; random weights.
        ZooError: as :func:`zoo.weights.load_backbone`.
    """
    folder = Path(name)
    backbone: Any
    classifier: Any = None
    classes = 0
    if (folder / "model" / "head.safetensors").is_file():
        trained = load_trained(folder)
        backbone, classes = trained.task.backbone, len(trained.labels)
        classifier = trained.task.head if trained.meta.get("task") == "classification" else None
        say(f"teacher: {folder}")
    else:
        trained_model = run_model(name)
        loaded = load_backbone(trained_model or name, weights=name if trained_model else None)
        backbone = loaded.backbone
        say(f"teacher: {loaded.weights_id}")
        if not trained_model and (found := _published_classifier(name, backbone.dim)) is not None:
            classifier, classes = found, found.linear.out_features
    own = backbone.input
    if own.modality != "image" or own.size[0] != student.size[0]:
        what = own.modality if own.modality != "image" else f"images of {own.size[0]} channels"
        raise UsageError(
            f"The teacher {name} takes {what}, the student images of {student.size[0]} channels.",
            "Choose another teacher: -O teacher=NAME.",
        )
    return Teacher(backbone, classifier, classes if classifier is not None else 0, student, size)


class _Classifier(nn.Module):
    """The published classifier: a linear map of pooled features."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
        self.linear.weight.data.copy_(weight)
        if bias is not None:
            self.linear.bias.data.copy_(bias)

    def forward(self, features: Features) -> Tensor:
        logits: Tensor = self.linear(features.pooled)
        return logits


def _published_classifier(name: str, dim: int) -> _Classifier | None:
    """What the published file holds beside the backbone, if it is one linear map of its features."""
    made = identify_weights(name, registry=zoo.default_registry())
    if made.path is None or made.weights is None or len(made.weights.head_keys) != 1:
        return None
    state = read_state(made.path)
    if made.weights.remap:
        state = dict(load_builder(made.weights.remap, made.spec.requires, made.spec.extra)(state))
    key = made.weights.head_keys[0]
    weight = state.get(f"{key}.weight")
    if weight is None or weight.flatten(1).shape[1] != dim:  # a 1 x 1 convolution is a linear map too
        return None
    return _Classifier(weight.flatten(1), state.get(f"{key}.bias"))
