"""Collects what the page shows and renders it. Everything a user wrote is escaped by the template engine."""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from zoo.data.dataset import DataSet
from zoo.kinds import Outcome
from zoo.report.charts import (
    Series,
    confusion_heatmap,
    histogram,
    interval_bar,
    line_chart,
    reliability,
    scatter,
)
from zoo.report.lr_chart import LEGEND, lr_chart
from zoo.report.mistakes import Thumbnails, worst_answers, worst_samples, worst_sentences, worst_transcripts
from zoo.run import write_text
from zoo.verification import trials

NAMES = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "auroc": "AUROC",
    "calibration_error": "calibration error",
    "log_loss": "log loss",
    "map": "mean average precision",
    "exact_match": "exact match",
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
    "r2": "R²",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "boundary_f1": "F1 of boundaries alone",
    "span_f1": "F1 of windows",
    "span_exact": "exact windows",
    "answerable_f1": "F1 where there is an answer",
    "unanswerable_accuracy": "right where there is none",
    "recall_at_1": "recall at 1",
    "recall_at_5": "recall at 5",
    "recall_at_10": "recall at 10",
    "mrr": "mean reciprocal rank",
    "perplexity": "perplexity",
    "wer": "word error rate",
    "cer": "character error rate",
    "event_f1": "F1 of events",
    "event_precision": "precision of events",
    "event_recall": "recall of events",
    "eer": "equal error rate",
    "min_dcf": "least detection cost",
    "threshold": "threshold of the equal error rate",
}
NOT_PERCENT = frozenset(
    "auroc calibration_error log_loss mae rmse r2 pearson spearman mrr perplexity min_dcf threshold".split()  # noqa: SIM905
)
SAMPLES = frozenset({"classification", "multi-label", "regression"})
"""Tasks with one answer a sample, whose worst are shown as cards."""


def write_report(
    path: Path,
    *,
    dataset: DataSet,
    evaluation: Mapping[str, Any],
    outcome: Outcome,
    inputs: Sequence[str],
    events: Iterable[Mapping[str, Any]] = (),
    thumbnails: Thumbnails | None = None,
    config: Mapping[str, Any] | None = None,
    manifest: Mapping[str, Any] | None = None,
    skipped: Mapping[str, Sequence[tuple[str, str]]] | None = None,
    seconds: float | None = None,
    pictures: Sequence[Path] = (),
    search: Mapping[str, Any] | None = None,
) -> None:
    """Write one self-contained HTML file.

    Args:
        path: the file, overwritten.
        dataset: the data of the run.
        evaluation: the kind's report (:mod:`zoo.kinds`) of the validation split.
        outcome: what the model made of the split.
        inputs: n names of files; of texts what is shown of them.
        events: lines of metrics.jsonl: ``{"event": "train" | "evaluation", "stage", "step", ...}``.
        thumbnails: rows to uint8 images (k, C, H, W); None where inputs are no images.
        config, manifest: of the run.
        skipped: split name to (what, why).
        seconds: of the whole run.
        pictures: PNG files of what the model makes, to be shown whole.
        search: of the learning rate (:func:`zoo.lr_finder.kept_search`).

    Raises:
        ZooError: the file cannot be written.
    """
    task = str(evaluation["task"])
    manifest, config = manifest or {}, config or {}
    names = list(dataset.labels)
    confusion = np.array(evaluation["confusion"]) if task == "classification" else None
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("report.html.j2").render(
        title=f"{manifest.get('model_id', config.get('model', 'model'))} on {dataset.name}",
        task=task,
        sample=dataset.sample,
        headline=_headline(evaluation),
        tiles=_tiles(evaluation, seconds),
        stages=[*_searched(search), *_curves(list(events))],
        confusion=confusion_heatmap(confusion, names) if confusion is not None and len(names) <= 200 else None,
        confusions=_top_confusions(confusion, names) if confusion is not None else [],
        confused=_confused(evaluation),
        calibration=_calibration(outcome) if task == "classification" else None,
        values=_charts(task, outcome),
        classes=_classes(evaluation),
        mistakes=worst_samples(task, outcome, inputs, names, thumbnails, dataset.modality == "text")
        if task in SAMPLES
        else None,
        sentences=worst_sentences(outcome, names) if task == "token-classification" else None,
        answers=worst_answers(outcome) if task == "question-answering" else None,
        transcripts=worst_transcripts(outcome, names, inputs) if task == "transcription" else None,
        splits=_splits(dataset),
        notes=[*dataset.notes, *evaluation.get("notes", [])],
        origin=dataset.origin,
        skipped={split: list(found) for split, found in (skipped or {}).items() if found},
        config=_flat(config),
        provenance=_flat(
            {key: manifest[key] for key in manifest if key not in ("metrics", "data", "status", "schema_version")}
        ),
        fingerprint=dataset.fingerprint,
        pictures=[(one.stem.replace("_", " "), _png_uri(one)) for one in pictures],
    )
    write_text(path, html)


def _png_uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def figure(name: str, value: float | None) -> str:
    """A metric's value as people read it."""
    if value is None:
        return "–"
    return (
        f"{100 * value:.1f} %"
        if name in NAMES and name not in NOT_PERCENT
        else f"{value:.4g}"
        if abs(value) >= 1
        else f"{value:.3f}"
    )


def _headline(evaluation: Mapping[str, Any]) -> dict[str, str]:
    first = next(iter(evaluation["metrics"]))
    low_high = evaluation.get("intervals", {}).get(first)
    between = f"{figure(first, low_high[0])} – {figure(first, low_high[1])}" if low_high else ""
    return {
        "name": NAMES.get(first, first),
        "value": figure(first, evaluation["metrics"][first]),
        "interval": between,
        "n": f"{evaluation['n']:,}",
    }


def _tiles(evaluation: Mapping[str, Any], seconds: float | None) -> list[dict[str, str]]:
    metrics = list(evaluation["metrics"].items())[1:]
    tiles = []
    for name, value in metrics:
        low_high = evaluation.get("intervals", {}).get(name)
        between = f"{figure(name, low_high[0])} – {figure(name, low_high[1])}" if low_high else ""
        tiles.append({"name": NAMES.get(name, name), "value": figure(name, value), "detail": between})
    if seconds is not None:
        tiles.append({"name": "training time", "value": _duration(seconds), "detail": ""})
    return tiles


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _searched(search: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The search of the learning rate, before the stages."""
    if search is None or not (svg := lr_chart(search)):
        return []
    title = f"Loss while the learning rate rises; {search['lr']:g} was taken"
    return [{"name": "find-lr", "charts": [{"title": title, "svg": svg, "legend": list(LEGEND)}]}]


def _curves(events: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Per stage: losses, metrics, learning rate. A stage that logged nothing is left out."""
    stages = []
    for stage in dict.fromkeys(str(event.get("stage", "main")) for event in events):
        mine = [event for event in events if str(event.get("stage", "main")) == stage]
        train = [event for event in mine if event.get("event") == "train"]
        evaluations = [event for event in mine if event.get("event") == "evaluation"]
        losses = [_series("training", train, "loss"), _series("validation", evaluations, "loss")]
        measured = [
            key
            for key in dict.fromkeys(key for event in evaluations for key in event)
            if key in NAMES and any(_number(event.get(key)) is not None for event in evaluations)
        ][:3]
        scores = [_series(NAMES[key], evaluations, key) for key in measured]
        rates = [_series("learning rate", train, "lr")]
        charts = []
        for title, series in (("Loss", losses), (", ".join(s.name for s in scores), scores), ("Learning rate", rates)):
            series = [one for one in series if len(one.x)]
            svg = line_chart(f"{title}, {stage}", series) if series else ""
            if svg:
                legend = [one.name for one in series] if len(series) > 1 else []
                charts.append({"title": title[:1].upper() + title[1:], "svg": svg, "legend": legend})
        if charts:
            stages.append({"name": stage, "charts": charts})
    return stages


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _series(name: str, events: Sequence[Mapping[str, Any]], key: str) -> Series:
    points = [(float(event["step"]), value) for event in events if (value := _number(event.get(key))) is not None]
    return Series(name, [x for x, _ in points], [y for _, y in points])


def _top_confusions(matrix: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """The most frequent mistakes by pair of classes, worth a list where the matrix has many cells."""
    if len(names) < 6:
        return []
    off = matrix.copy()
    np.fill_diagonal(off, 0)
    order = np.argsort(-off, axis=None, kind="stable")[:10]
    rows = []
    for flat in order:
        true, predicted = divmod(int(flat), len(names))
        if count := int(off[true, predicted]):
            share = count / max(int(matrix[true].sum()), 1)
            rows.append({"true": names[true], "predicted": names[predicted], "count": count, "share": f"{share:.0%}"})
    return rows


def _calibration(outcome: Outcome) -> Markup:
    scores, labels = np.asarray(outcome.scores), np.asarray(outcome.truth)
    best = scores.argmax(1)
    return reliability(scores[np.arange(len(scores)), best], best == labels)


def _confused(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the table of words that were taken for others."""
    return [
        {
            "true": one["true"] or "–",
            "predicted": one["predicted"] or "–",
            "count": one["count"],
            "share": "–" if one["share"] is None else f"{one['share']:.0%}",
        }
        for one in evaluation.get("confused", [])
    ]


def _charts(task: str, outcome: Outcome) -> list[dict[str, Any]]:
    if task == "regression":
        return _value_charts(outcome)
    return _trial_charts(outcome) if task == "speaker-verification" else []


def _trial_charts(outcome: Outcome) -> list[dict[str, Any]]:
    same, other = trials(np.stack(list(outcome.scores)), np.asarray(outcome.truth))
    pairs = (("of one speaker", same), ("of different speakers", other))
    return [{"title": f"Pairs {of}", "svg": histogram(f"pairs {of}", some, x_label="cosine")} for of, some in pairs]


def _value_charts(outcome: Outcome) -> list[dict[str, Any]]:
    predicted, truth = (np.asarray(part).reshape(len(outcome)) for part in (outcome.scores, outcome.truth))
    return [
        {"title": "Predicted over true values", "svg": scatter("predicted over true", truth, predicted)},
        {"title": "Errors", "svg": histogram("errors", predicted - truth, x_label="predicted − true")},
    ]


def _classes(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the per-class table: in label order, or the worst first where there are many."""
    rows = []
    for one in evaluation.get("classes") or []:
        row: dict[str, Any] = {"label": one["name"], "support": one["support"]}
        for key in ("precision", "recall", "f1"):
            low, high = one["intervals"].get(key) or (None, None)
            row[key] = {
                "value": "–" if one.get(key) is None else f"{100 * one[key]:.1f} %",
                "interval": "" if low is None or high is None else f"{100 * low:.0f} – {100 * high:.0f}",
                "bar": interval_bar(one.get(key), low, high),
                "sort": math.inf if one.get(key) is None else one[key],
            }
        rows.append(row)
    return rows if len(rows) <= 25 else sorted(rows, key=lambda row: row["f1"]["sort"])


def _splits(dataset: DataSet) -> dict[str, Any]:
    """Sizes, and samples per class where there are classes."""
    sizes = {split: len(table) for split, table in dataset.splits.items()}
    # The units of transcripts are no classes of theirs.
    labels = () if dataset.task == "transcription" else dataset.labels
    counts: dict[str, Counter[int]] = {}
    if labels:
        for split, table in dataset.splits.items():
            counts[split] = Counter(i for entry in table.columns["label"] for i in _classes_of(entry))
    rows: list[dict[str, Any]] = [
        {"label": label, "counts": [counts[split][i] for split in sizes]} for i, label in enumerate(labels)
    ]
    most = max((count for row in rows for count in row["counts"]), default=1) or 1
    return {"sizes": sizes, "rows": rows, "most": most}


def _classes_of(entry: Any) -> list[int]:
    """The class ids of a label: one, several, or those of events."""
    parts = entry if isinstance(entry, list | tuple) else [entry]
    return [int(part[2] if isinstance(part, list | tuple) else part) for part in parts]


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as dotted keys, without those left unset."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{key}.")
        elif value is not None and value != "" and value != []:
            text = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            rows.append((f"{prefix}{key}", text))
    return rows
