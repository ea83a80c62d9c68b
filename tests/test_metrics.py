"""Metrics and reports against scikit-learn and slow loops, and on the inputs where they usually break."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics as reference

from zoo.kinds import Outcome, kind_of
from zoo.metrics import (
    ClassificationMetrics,
    MultiLabelMetrics,
    RegressionMetrics,
    full_classification_report,
    full_multilabel_report,
    full_regression_report,
    wilson,
)
from zoo_registry.errors import UsageError


def classification(n: int = 120, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, n)
    logits = random.normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels]
    scores = np.exp(logits)
    return (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32), labels


def multilabel(n: int = 80, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    labels = (random.random((n, classes)) < 0.4).astype(np.int64)
    return (1 / (1 + np.exp(-random.normal(size=labels.shape) - 2 * labels + 1))).astype(np.float32), labels


def is_json(report: dict[str, Any]) -> None:
    assert json.loads(json.dumps(report, allow_nan=False)) == report


@pytest.mark.parametrize("classes", [2, 4])
def test_classification_report_agrees_with_scikit_learn(classes: int) -> None:
    scores, labels = classification(classes=classes)
    names = [f"class {i}" for i in range(classes)]
    report = full_classification_report(scores, labels, names)
    is_json(report)
    predicted = scores.argmax(axis=1)
    measured = report["metrics"]
    assert measured["accuracy"] == pytest.approx(reference.accuracy_score(labels, predicted))
    assert measured["macro_f1"] == pytest.approx(reference.f1_score(labels, predicted, average="macro"))
    wanted = [reference.roc_auc_score(labels == i, scores[:, i]) for i in range(classes)]
    assert measured["auroc"] == pytest.approx(np.mean(wanted), abs=1e-6)
    assert measured["log_loss"] == pytest.approx(reference.log_loss(labels, scores.astype(np.float64)), rel=1e-5)
    assert measured["calibration_error"] == pytest.approx(slow_calibration_error(scores, labels), abs=1e-5)
    assert report["confusion"] == reference.confusion_matrix(labels, predicted).tolist()
    precision, recall, f1, support = reference.precision_recall_fscore_support(labels, predicted)
    for i, row in enumerate(report["classes"]):
        assert (row["name"], row["support"]) == (names[i], support[i])
        assert row["precision"] == pytest.approx(precision[i])
        assert row["recall"] == pytest.approx(recall[i])
        assert row["f1"] == pytest.approx(f1[i])
        assert row["auroc"] == pytest.approx(wanted[i], abs=1e-6)
        for name in ("precision", "recall", "f1"):
            low, high = row["intervals"][name]
            assert 0 <= low <= row[name] <= high <= 1
    for name in ("accuracy", "macro_f1"):
        low, high = report["intervals"][name]
        assert low < measured[name] < high


def slow_calibration_error(scores: np.ndarray, labels: np.ndarray) -> float:
    confidence, right = scores.max(axis=1), scores.argmax(axis=1) == labels
    error = 0.0
    for i in range(15):
        inside = (confidence > i / 15) & (confidence <= (i + 1) / 15)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return error


def test_classes_absent_from_the_split_are_null_not_nan() -> None:
    scores, labels = classification(classes=4)
    kept = labels < 2
    scores, labels = scores[kept].copy(), labels[kept]
    scores[:, 3] = 0.0
    report = full_classification_report(scores, labels, list("abcd"))
    is_json(report)
    absent = report["classes"][3]
    assert (absent["support"], absent["predicted"]) == (0, 0)
    assert absent["precision"] is absent["recall"] is absent["f1"] is absent["auroc"] is None
    assert set(absent["intervals"].values()) == {None}
    wanted = [reference.roc_auc_score(labels == i, scores[:, i]) for i in range(2)]
    assert report["metrics"]["auroc"] == pytest.approx(np.mean(wanted), abs=1e-6)


def test_one_sample_and_one_class_are_measured() -> None:
    report = full_classification_report([[0.9, 0.1]], [0], ["a", "b"])
    is_json(report)
    assert report["metrics"]["accuracy"] == 1.0
    assert report["metrics"]["auroc"] is None
    low, high = report["intervals"]["accuracy"]
    assert (round(low, 3), high) == (0.207, 1.0)


def test_reports_are_reproducible() -> None:
    scores, labels = classification()
    assert full_classification_report(scores, labels, "abcd") == full_classification_report(scores, labels, "abcd")


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (10, 10), (3, 17), (950, 1000)])
def test_wilson_agrees_with_scipy(successes: int, trials: int) -> None:
    wanted = stats.binomtest(successes, trials).proportion_ci(method="wilson")
    assert wilson(successes, trials) == pytest.approx([wanted.low, wanted.high], abs=1e-9)


def test_wilson_without_trials_is_undecided() -> None:
    assert wilson(0, 0) is None


def test_f1_interval_is_the_bootstrap_over_samples() -> None:
    scores, labels = classification(n=200, classes=3)
    report = full_classification_report(scores, labels, "abc")
    predicted = scores.argmax(axis=1)
    random = np.random.default_rng(5)
    per_class, macro = [], []
    for _ in range(600):
        rows = random.integers(0, 200, 200)
        per_class.append(reference.f1_score(labels[rows] == 1, predicted[rows] == 1))
        macro.append(reference.f1_score(labels[rows], predicted[rows], average="macro"))
    assert report["classes"][1]["intervals"]["f1"] == pytest.approx(np.percentile(per_class, (2.5, 97.5)), abs=0.02)
    assert report["intervals"]["macro_f1"] == pytest.approx(np.percentile(macro, (2.5, 97.5)), abs=0.02)


def test_multilabel_report_agrees_with_scikit_learn() -> None:
    scores, labels = multilabel()
    report = full_multilabel_report(scores, labels, "abc")
    is_json(report)
    predicted = scores >= 0.5
    measured = report["metrics"]
    assert measured["map"] == pytest.approx(reference.average_precision_score(labels, scores), abs=1e-6)
    assert measured["macro_f1"] == pytest.approx(reference.f1_score(labels, predicted, average="macro"))
    assert measured["auroc"] == pytest.approx(reference.roc_auc_score(labels, scores), abs=1e-6)
    assert measured["exact_match"] == pytest.approx(reference.accuracy_score(labels, predicted))
    assert report["confusion"] == reference.multilabel_confusion_matrix(labels, predicted).tolist()
    for i, row in enumerate(report["classes"]):
        assert row["average_precision"] == pytest.approx(
            reference.average_precision_score(labels[:, i], scores[:, i]), abs=1e-6
        )


def test_multilabel_class_without_positives_is_null() -> None:
    scores, labels = multilabel()
    labels[:, 1] = 0
    report = full_multilabel_report(scores, labels, "abc")
    is_json(report)
    assert report["classes"][1]["average_precision"] is None
    assert report["classes"][1]["recall"] is None
    kept = [0, 2]
    wanted = reference.average_precision_score(labels[:, kept], scores[:, kept])
    assert report["metrics"]["map"] == pytest.approx(wanted, abs=1e-6)


def test_regression_report_agrees_with_scikit_learn() -> None:
    random = np.random.default_rng(2)
    target = random.normal(100, 20, 60)
    value = target + random.normal(0, 8, 60)
    report = full_regression_report(value, target)
    is_json(report)
    measured = report["metrics"]
    assert measured["mae"] == pytest.approx(reference.mean_absolute_error(target, value))
    assert measured["rmse"] == pytest.approx(math.sqrt(reference.mean_squared_error(target, value)))
    assert measured["r2"] == pytest.approx(reference.r2_score(target, value))
    pearson = stats.pearsonr(value, target)
    assert measured["pearson"] == pytest.approx(pearson.statistic)
    assert measured["spearman"] == pytest.approx(stats.spearmanr(value, target).statistic)
    wanted = pearson.confidence_interval()
    assert report["intervals"]["pearson"] == pytest.approx([wanted.low, wanted.high], abs=1e-6)
    for name, value_ in measured.items():
        low, high = report["intervals"][name]
        assert low < value_ < high, name


@pytest.mark.parametrize("targets", [[5.0], [5.0, 5.0, 5.0]])
def test_regression_without_spread_is_null(targets: list[float]) -> None:
    report = full_regression_report([value + 1 for value in targets], targets)
    is_json(report)
    assert report["metrics"] == {"mae": 1.0, "rmse": 1.0, "r2": None, "pearson": None, "spearman": None}


def test_streaming_classification_agrees_with_the_report_over_any_batches() -> None:
    scores, labels = classification(n=50)
    wanted = full_classification_report(scores, labels, "abcd")["metrics"]
    streaming = ClassificationMetrics(4).to(torch.device("cpu"))
    for part in np.array_split(np.arange(50), [1, 20, 33]):
        streaming.update(torch.tensor(scores[part]).log(), {"label": torch.tensor(labels[part])})
    assert streaming.compute() == pytest.approx({name: wanted[name] for name in ("accuracy", "macro_f1")}, abs=1e-6)
    streaming.reset()
    streaming.update(torch.tensor([[1.0, 0, 0, 0]]), {"label": torch.tensor([[0.6, 0.4, 0, 0]])})
    assert streaming.compute() == {"accuracy": 1.0, "macro_f1": 1.0}


def test_streaming_multilabel_agrees_with_the_report() -> None:
    scores, labels = multilabel()
    labels[:, 2] = 0
    wanted = full_multilabel_report(scores, labels, "abc")["metrics"]
    streaming = MultiLabelMetrics(3).to(torch.device("cpu"))
    for part in np.array_split(np.arange(80), 3):
        streaming.update(torch.logit(torch.tensor(scores[part])), {"label": torch.tensor(labels[part])})
    assert streaming.compute() == pytest.approx({name: wanted[name] for name in ("map", "macro_f1")}, abs=1e-5)


def test_streaming_regression_agrees_with_the_report() -> None:
    random = np.random.default_rng(3)
    target = random.normal(size=30).astype(np.float32)
    value = (target + random.normal(size=30)).astype(np.float32)
    wanted = full_regression_report(value, target)["metrics"]
    streaming = RegressionMetrics().to(torch.device("cpu"))
    for part in (slice(0, 1), slice(1, 30)):
        streaming.update(torch.tensor(value[part]), {"label": torch.tensor(target[part])})
    assert streaming.compute() == pytest.approx({name: wanted[name] for name in ("mae", "rmse", "r2")}, abs=1e-5)
    streaming.reset()
    streaming.update(torch.tensor([1.0]), {"label": torch.tensor([3.0])})
    assert streaming.compute() == {"rmse": 2.0, "mae": 2.0}


def report(task: str, scores: Any, truth: Any, labels: Any = ()) -> dict[str, Any]:
    return kind_of(task).report(Outcome(scores, truth=truth), labels)


def test_nothing_to_measure_and_wrong_shapes_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="no samples"):
        report("classification", np.zeros((0, 2)), np.zeros(0, int), ["a", "b"])
    with pytest.raises(UsageError, match="do not go together"):
        report("classification", [[0.5, 0.5]], [2], ["a", "b"])
    with pytest.raises(UsageError, match="do not go together"):
        report("multi-label", [[0.5, 0.5]], [[1, 0, 1]], ["a", "b"])
    with pytest.raises(UsageError, match="do not go together"):
        report("regression", [1.0, 2.0], [1.0])
    with pytest.raises(UsageError, match="no task 'ranking'"):
        report("ranking", [1.0], [1.0])
