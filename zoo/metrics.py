"""What a model is worth: cheap streaming metrics during training, full reports with 95 % intervals afterwards.

n samples, C classes. Reports hold JSON values only; a figure that the data cannot decide (the recall of a class that
never occurs) is ``None``, never NaN.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.class_table import plain
from zoo.protocols import Batch
from zoo.resampling import RESAMPLES, Z95, wilson
from zoo_registry.errors import UsageError

BINS = 15
Interval = list[float] | None


class ClassificationMetrics:
    """Streaming accuracy and macro F1 (mean over classes that occur in labels or predictions).

    Args:
        classes: C.
    """

    def __init__(self, classes: int) -> None:
        # Imported here: torchmetrics takes seconds, and serving needs none of it.
        from torchmetrics.classification import MulticlassStatScores

        self.scores = MulticlassStatScores(classes, average=None, validate_args=False)

    def update(self, logits: Tensor, batch: Batch) -> None:
        """logits (B, C); ``batch["label"]`` (B,) ids or (B, C) probabilities."""
        label = batch["label"]
        self.scores.update(logits.argmax(dim=-1), label.argmax(dim=-1) if label.dim() > 1 else label)

    def compute(self) -> dict[str, float]:
        right, wrong, _, missed, support = self.scores.compute().cpu().double().unbind(dim=-1)
        return {
            "accuracy": float(right.sum() / support.sum().clamp(min=1)),
            "macro_f1": _macro_f1(right.numpy(), wrong.numpy(), missed.numpy()),
        }

    def reset(self) -> None:
        self.scores.reset()

    def to(self, device: torch.device) -> ClassificationMetrics:
        self.scores = self.scores.to(device)
        return self


class MultiLabelMetrics:
    """Streaming mean average precision (``map``, over classes that occur) and macro F1 at one half.

    Args:
        classes: C.
    """

    def __init__(self, classes: int) -> None:
        from torchmetrics.classification import MultilabelAveragePrecision, MultilabelStatScores

        self.precision = MultilabelAveragePrecision(classes, average=None, validate_args=False)
        self.scores = MultilabelStatScores(classes, average=None, validate_args=False)

    def update(self, logits: Tensor, batch: Batch) -> None:
        """logits (B, C); ``batch["label"]`` (B, C) in 0..1."""
        scores, target = logits.float().sigmoid(), (batch["label"] >= 0.5).long()
        self.precision.update(scores, target)
        self.scores.update(scores, target)

    def compute(self) -> dict[str, float]:
        right, wrong, _, missed, support = self.scores.compute().cpu().double().unbind(dim=-1)
        with _quiet():
            each = self.precision.compute().cpu().double()[support > 0]
        return {
            "map": float(each.mean()) if len(each) else 0.0,
            "macro_f1": _macro_f1(right.numpy(), wrong.numpy(), missed.numpy()),
        }

    def reset(self) -> None:
        self.precision.reset()
        self.scores.reset()

    def to(self, device: torch.device) -> MultiLabelMetrics:
        self.precision, self.scores = self.precision.to(device), self.scores.to(device)
        return self


class RegressionMetrics:
    """Streaming root mean squared error and mean absolute error, in the targets' units, and R2."""

    def __init__(self) -> None:
        from torchmetrics import MeanAbsoluteError, MeanSquaredError, R2Score

        self.squared, self.absolute, self.explained = MeanSquaredError(), MeanAbsoluteError(), R2Score()

    def update(self, logits: Tensor, batch: Batch) -> None:
        """logits (B,) values; ``batch["label"]`` (B,)."""
        value, target = logits.float().flatten(), batch["label"].float().flatten()
        for metric in (self.squared, self.absolute, self.explained):
            metric.update(value, target)

    def compute(self) -> dict[str, float]:
        mse = float(self.squared.compute())
        result = {"rmse": math.sqrt(mse), "mae": float(self.absolute.compute())}
        try:
            explained = float(self.explained.compute())
        except ValueError:  # fewer than two samples
            return result
        return {**result, "r2": explained} if math.isfinite(explained) else result

    def reset(self) -> None:
        for metric in (self.squared, self.absolute, self.explained):
            metric.reset()

    def to(self, device: torch.device) -> RegressionMetrics:
        self.squared, self.absolute = self.squared.to(device), self.absolute.to(device)
        self.explained = self.explained.to(device)
        return self


def full_classification_report(scores: Any, labels: Any, names: Sequence[str]) -> dict[str, Any]:
    """Everything about a classifier on a labelled split.

    Intervals are 95 %: Wilson (1927) for proportions, percentiles of a seeded bootstrap over samples for F1. AUROC is
    one class against the rest; ``auroc`` is its mean over classes that occur (for two classes the two are equal).
    ``calibration_error`` is the expected calibration error of the top label in 15 equal bins (Guo et al., 2017).

    Args:
        scores: (n, C) probabilities.
        labels: (n,) class ids.
        names: C class names.

    Returns:
        ``{"task", "n", "metrics": {name: value}, "intervals": {name: [low, high]}, "confusion": C x C counts, rows are
        labels and columns predictions, "classes": [{"name", "support", "predicted", "precision", "recall", "f1",
        "auroc", "intervals": {...}}]}``.

    Raises:
        UsageError: no samples, or shapes that do not go together.
    """
    from torchmetrics.functional.classification import (
        multiclass_auroc,
        multiclass_calibration_error,
        multiclass_confusion_matrix,
    )

    probabilities, target = _tensor(scores, torch.float32), _tensor(labels, torch.long)
    classes = len(names)
    _check(probabilities.shape == (len(target), classes) and bool(((target >= 0) & (target < classes)).all()), target)
    n = len(target)
    predicted = probabilities.argmax(dim=1)
    confusion = multiclass_confusion_matrix(predicted, target, classes).numpy().astype(np.int64)
    with _quiet():
        auroc = multiclass_auroc(probabilities, target, classes, average=None).double().numpy()
        calibration = float(multiclass_calibration_error(probabilities, target, classes, n_bins=BINS, norm="l1"))
    right = np.diag(confusion)
    support, chosen = confusion.sum(axis=1), confusion.sum(axis=0)
    decided = (support > 0) & (support < n)
    auroc = np.where(decided, auroc, np.nan)
    per_class = [
        {
            "name": name,
            "support": int(support[i]),
            "predicted": int(chosen[i]),
            "precision": _ratio(right[i], chosen[i]),
            "recall": _ratio(right[i], support[i]),
            "f1": _ratio(2 * right[i], support[i] + chosen[i]),
            "auroc": plain(auroc[i]),
            "intervals": {
                "precision": wilson(right[i], chosen[i]),
                "recall": wilson(right[i], support[i]),
                "f1": _f1_interval(right[i], chosen[i] - right[i], support[i] - right[i], n),
            },
        }
        for i, name in enumerate(names)
    ]
    accuracy = int(right.sum())
    likelihood = probabilities.gather(1, target[:, None]).clamp(min=torch.finfo(torch.float32).tiny)
    return {
        "task": "classification",
        "n": n,
        "metrics": {
            "accuracy": accuracy / n,
            "macro_f1": _macro_f1(right, chosen - right, support - right),
            "auroc": plain(auroc[decided].mean()) if decided.any() else None,
            "calibration_error": plain(calibration),
            "log_loss": float(-likelihood.double().log().mean()),
        },
        "intervals": {"accuracy": wilson(accuracy, n), "macro_f1": _macro_f1_interval(confusion)},
        "confusion": confusion.tolist(),
        "classes": per_class,
    }


def full_multilabel_report(scores: Any, labels: Any, names: Sequence[str]) -> dict[str, Any]:
    """Everything about a multi-label classifier. Decisions are taken at one half; ``map`` is the mean of the average
    precision over classes that occur; ``exact_match`` is the share of samples with every class right.

    Args:
        scores: (n, C) probabilities.
        labels: (n, C) of 0 and 1.
        names: C class names.

    Returns:
        As :func:`full_classification_report`, with ``average_precision`` per class, ``confusion`` as C entries
        ``[[true negative, false positive], [false negative, true positive]]``.

    Raises:
        UsageError: no samples, or shapes that do not go together.
    """
    from torchmetrics.functional.classification import multilabel_auroc, multilabel_average_precision

    probabilities, target = _tensor(scores, torch.float32), _tensor(labels, torch.float32)
    classes = len(names)
    _check(probabilities.shape == target.shape == (len(target), classes), target)
    wanted = target >= 0.5
    n = len(target)
    given = probabilities >= 0.5
    with _quiet():
        auroc = multilabel_auroc(probabilities, wanted.long(), classes, average=None).double().numpy()
        precision = multilabel_average_precision(probabilities, wanted.long(), classes, average=None).double().numpy()
    right = (given & wanted).sum(dim=0).numpy()
    chosen, support = given.sum(dim=0).numpy(), wanted.sum(dim=0).numpy()
    auroc = np.where((support > 0) & (support < n), auroc, np.nan)
    precision = np.where(support > 0, precision, np.nan)
    exact = int((given == wanted).all(dim=1).sum())
    per_class = [
        {
            "name": name,
            "support": int(support[i]),
            "predicted": int(chosen[i]),
            "precision": _ratio(right[i], chosen[i]),
            "recall": _ratio(right[i], support[i]),
            "f1": _ratio(2 * right[i], support[i] + chosen[i]),
            "average_precision": plain(precision[i]),
            "auroc": plain(auroc[i]),
            "intervals": {
                "precision": wilson(right[i], chosen[i]),
                "recall": wilson(right[i], support[i]),
                "f1": _f1_interval(right[i], chosen[i] - right[i], support[i] - right[i], n),
            },
        }
        for i, name in enumerate(names)
    ]
    wrong, missed = chosen - right, support - right
    confusion = np.stack([n - right - wrong - missed, wrong, missed, right], axis=1).reshape(classes, 2, 2).tolist()
    found, aurocs = precision[~np.isnan(precision)], auroc[~np.isnan(auroc)]
    return {
        "task": "multi-label",
        "n": n,
        "metrics": {
            "map": float(found.mean()) if len(found) else None,
            "macro_f1": _macro_f1(right, chosen - right, support - right),
            "auroc": float(aurocs.mean()) if len(aurocs) else None,
            "exact_match": exact / n,
        },
        "intervals": {"exact_match": wilson(exact, n)},
        "confusion": confusion,
        "classes": per_class,
    }


def full_regression_report(values: Any, targets: Any) -> dict[str, Any]:
    """Everything about a regressor, in the targets' units.

    Intervals are 95 %: percentiles of a seeded bootstrap over samples; for the correlations Fisher's transformation,
    with the variance of Bonett and Wright (2000) for Spearman's.

    Args:
        values, targets: (n,).

    Returns:
        ``{"task", "n", "metrics": {"mae", "rmse", "r2", "pearson", "spearman"}, "intervals"}``.

    Raises:
        UsageError: no samples, or shapes that do not go together.
    """
    from torchmetrics.functional import pearson_corrcoef, spearman_corrcoef

    value, target = _tensor(values, torch.float64).flatten(), _tensor(targets, torch.float64).flatten()
    _check(value.shape == target.shape, target)
    n = len(target)
    x, y = value.numpy(), target.numpy()

    def figures(rows: np.ndarray) -> tuple[float, float, float]:
        error = x[rows] - y[rows]
        spread = float(((y[rows] - y[rows].mean()) ** 2).sum())
        squared = float((error**2).sum())
        return (
            float(np.abs(error).mean()),
            math.sqrt(squared / n),
            1.0 - squared / spread if spread > 0 else math.nan,
        )

    mae, rmse, r2 = figures(np.arange(n))
    varied = n > 1 and bool(np.ptp(x) > 0) and bool(np.ptp(y) > 0)
    with _quiet():
        pearson = plain(pearson_corrcoef(value, target)) if varied else None
        spearman = plain(spearman_corrcoef(value, target)) if varied else None
    drawn = _bootstrap_rows(n, figures)
    return {
        "task": "regression",
        "n": n,
        "metrics": {"mae": mae, "rmse": rmse, "r2": plain(r2), "pearson": pearson, "spearman": spearman},
        "intervals": {
            "mae": _percentiles(drawn[:, 0]),
            "rmse": _percentiles(drawn[:, 1]),
            "r2": _percentiles(drawn[:, 2]),
            "pearson": _correlation_interval(pearson, n, 1.0),
            "spearman": _correlation_interval(spearman, n, 1.0 + (spearman or 0.0) ** 2 / 2),
        },
    }


def _macro_f1(right: np.ndarray, wrong: np.ndarray, missed: np.ndarray) -> float:
    """Mean F1 over the classes (last axis) that occur in labels or predictions."""
    weight = 2 * right + wrong + missed
    present = weight > 0
    return float((2 * right[present] / weight[present]).mean()) if present.any() else 0.0


def _f1_interval(right: int, wrong: int, missed: int, n: int) -> Interval:
    """Resampling n samples only ever moves counts between these four cells, so a multinomial draw is the bootstrap."""
    if right + wrong + missed == 0:
        return None
    cells = np.array([right, wrong, missed, n - right - wrong - missed], dtype=np.float64)
    drawn = np.random.default_rng(0).multinomial(n, cells / n, size=RESAMPLES)
    weight = 2 * drawn[:, 0] + drawn[:, 1] + drawn[:, 2]
    return _percentiles(np.where(weight > 0, 2 * drawn[:, 0] / np.maximum(weight, 1), np.nan))


def _macro_f1_interval(confusion: np.ndarray) -> Interval:
    rows, columns = np.nonzero(confusion)
    counts = confusion[rows, columns].astype(np.float64)
    n = int(counts.sum())
    classes = len(confusion)
    random = np.random.default_rng(0)
    values = []
    for _ in range(RESAMPLES if len(counts) <= 10_000 else RESAMPLES // 5):
        drawn = random.multinomial(n, counts / n)
        support = np.bincount(rows, drawn, classes)
        chosen = np.bincount(columns, drawn, classes)
        right = np.bincount(rows, drawn * (rows == columns), classes)
        values.append(_macro_f1(right, chosen - right, support - right))
    return _percentiles(np.array(values))


def _bootstrap_rows(n: int, figures: Callable[[np.ndarray], tuple[float, ...]]) -> np.ndarray:
    random = np.random.default_rng(0)
    return np.array([figures(random.integers(0, n, n)) for _ in range(RESAMPLES if n <= 20_000 else RESAMPLES // 5)])


def _percentiles(values: np.ndarray) -> Interval:
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return None
    low, high = np.percentile(values, (2.5, 97.5))
    return [float(low), float(high)]


def _correlation_interval(value: float | None, n: int, variance: float) -> Interval:
    if value is None or n < 4:
        return None
    centre = math.atanh(max(-1 + 1e-15, min(1 - 1e-15, value)))
    half = Z95 * math.sqrt(variance / (n - 3))
    return [math.tanh(centre - half), math.tanh(centre + half)]


def _ratio(part: float, whole: float) -> float | None:
    return float(part) / float(whole) if whole else None


def _tensor(values: Any, dtype: torch.dtype) -> Tensor:
    return torch.as_tensor(np.asarray(values) if isinstance(values, list) else values).detach().cpu().to(dtype)


def _check(fits: bool, target: Tensor) -> None:
    if len(target) == 0:
        raise UsageError("There is nothing to measure: the split has no samples.", "Give a split with samples.")
    if not fits:
        raise UsageError("Predictions and labels do not go together.", "Evaluate on data with the run's own classes.")


@contextmanager
def _quiet() -> Iterator[None]:
    # torchmetrics warns of classes that do not occur; the reports say so themselves.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
