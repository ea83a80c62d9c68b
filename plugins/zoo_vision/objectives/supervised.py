"""Pretraining on labels: with ``fractals`` the formula-driven supervision of Kataoka et al. ("Pre-training without
natural images", ACCV 2020), with a labelled data set of one's own the classic way to a backbone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from zoo.heads import ClassificationHead
from zoo.objectives import read_options
from zoo.protocols import Backbone, Pipeline
from zoo.tasks import SupervisedTask


@dataclass(frozen=True)
class _Options:
    label_smoothing: float = 0.1


def build_supervised(
    backbone: Backbone, pipeline: Pipeline, config: Any, classes: tuple[str, ...] = ()
) -> SupervisedTask:
    """Cross entropy of a linear classifier on pooled features, over the data's own classes. The classifier is left
    behind when the run ends: a finetune starts from the backbone.

    Args:
        config: its ``options`` hold ``label_smoothing`` in [0, 1), the share of a target spread over all classes
            (Szegedy et al., "Rethinking the Inception architecture", CVPR 2016).
        classes: names in id order.

    Raises:
        DataError: fewer than two classes.
        UsageError: a setting out of its range.
    """
    options = read_options(_Options, config)
    head: Any = ClassificationHead(backbone.dim, classes, label_smoothing=options.label_smoothing)
    return SupervisedTask(backbone, head)
