"""``zoo evaluate``: what a run, a checkpoint or an export is worth on labelled data, and the report at a run's end."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

import zoo
from zoo.console import say
from zoo.data.batches import Eval, label_array
from zoo.data.clips import Pieces
from zoo.data.dataset import DataSet, Table
from zoo.data.items import name_of, shown
from zoo.data.pairs import load_pairs
from zoo.data.sources import load_dataset
from zoo.engine.evaluate import collect
from zoo.engine.runtime import Runtime
from zoo.kinds import Entries, Outcome, kind_of
from zoo.lr_finder import kept_search
from zoo.pair_measure import are_pairs, load_labelled, measure_retrieval, run_pairs
from zoo.pair_targets import is_pair, open_pair, zero_shot
from zoo.prepared import Prepared, forward_size, run_dataset
from zoo.prompts import check_labels, check_templates
from zoo.protocols import Frames, Windowed
from zoo.report import write_report
from zoo.run import Run, events_of, open_run, write_json
from zoo.targets import Model, answer, check_beam, check_readable, open_target
from zoo.tasks import SupervisedTask
from zoo.torch_model import answers_of
from zoo.windowing import average
from zoo.zeroshot import classified_side
from zoo_registry.errors import DataError, UsageError
from zoo_registry.registry import Registry

SCHEMA_VERSION = 1
SHOWN = 300  # characters of a text in a report
CUT = "no validation split: cut"  # how load_dataset's note begins where the data had none


def evaluate(
    target: str | Path,
    data: str | Path | None = None,
    *,
    split: str | None = None,
    columns: Mapping[str, str] | None = None,
    batch_size: int = 32,
    max_bad: float = 0.05,
    beam: int | None = None,
    labels: Sequence[str] | None = None,
    templates: Sequence[str] | None = None,
    registry: Registry | None = None,
) -> dict[str, Any]:
    """Measure a trained model; of a model of pairs (by name, its run or its export) how well it finds one side of pairs
    from the other, or on labelled data how often it is right without training.

    Args:
        target: run folder, checkpoint folder, ``model/`` folder, or export folder (run by onnxruntime).
        data: as for finetuning; None: the data of the run. Labels are matched to the model's by name.
        split: ``"val"``, ``"train"``, ``"test"`` or ``"all"``; None: ``"val"``, or all of ``data`` where it has no
            validation split of its own.
        columns: ``{"input": ..., "pair": ..., "label": ...}`` where a table's names do not tell.
        batch_size: samples at once.
        max_bad: largest share of unreadable inputs that is skipped.
        beam: texts that are followed at once where a run recognises speech; None: greedy decoding.
        labels: what a model of pairs chooses between; None: the names of the data's classes.
        templates: sentences with ``{}`` for a label; None: those of :mod:`zoo.prompts`.
        registry: where names are looked up; the default one if None.

    Returns:
        ``{"schema_version", "target", "backend", "data", "split", "skipped", "labels", ...}`` and the keys of
        the kind's report (:mod:`zoo.kinds`): ``task``, ``n``, ``metrics``, ``intervals``, ``confusion``, ``classes``.

    Raises:
        UsageError: no such target, an export without ``data``, or a beam for what has no beam search.
        DataError: labels the model does not know, no such split, or too many unreadable inputs.
    """
    registry = registry or zoo.default_registry()
    path, columns = Path(target), dict(columns or {})
    if is_pair(target, registry):
        return _evaluate_pair(target, data, split, columns, batch_size, max_bad, beam, labels, templates, registry)
    model = open_target(target, labels, templates)  # which refuses labels
    check_beam(model, beam)
    if data is None:
        dataset = _own_data(path, model, registry)
    else:
        dataset = load_dataset(
            str(data),
            registry=registry,
            modality=str(model.meta.get("input", {}).get("modality", "image")),
            task=model.task,
            columns=columns,
        )
    split, parts = _parts(dataset, split, data is None)
    return _measure(model, target, dataset, split, parts, batch_size, max_bad, beam)


def _evaluate_pair(
    target: str | Path,
    data: str | Path | None,
    split: str | None,
    columns: dict[str, str],
    batch_size: int,
    max_bad: float,
    beam: int | None,
    labels: Sequence[str] | None,
    templates: Sequence[str] | None,
    registry: Registry,
) -> dict[str, Any]:
    if beam is not None:
        raise UsageError(f"{target} recognises no speech, so it has no beam search.", "Leave --beam out.")
    if data is None and (labels is not None or templates is not None):
        raise UsageError("There is no data to choose labels for.", "Add --data with labelled images.")
    own = Path(target)
    if data is None and not (own / "manifest.json").is_file():
        raise UsageError(f"{target} is no run, so it has no data of its own.", "Add --data.")
    if labels is not None:
        labels = check_labels(labels)
    if templates is not None:
        check_templates(templates)
    pair = open_pair(target, registry)
    named = labels is not None or templates is not None
    if data is not None and (named or not are_pairs(str(data), pair.modalities, columns, registry)):
        dataset = load_labelled(str(data), classified_side(pair), columns, labels, registry)
        model = zero_shot(pair, dataset.labels if labels is None else labels, templates)
        split, parts = _parts(dataset, split, False)
        return _measure(model, target, dataset, split, parts, batch_size, max_bad, None)
    modality = "-".join(pair.modalities)
    if data is not None:
        dataset = load_pairs(str(data), registry=registry, modality=modality, columns=columns, max_bad=max_bad)
    else:
        dataset = run_pairs(own, registry)
    split, parts = _parts(dataset, split, data is None)
    items = [item for part in parts for item in dataset.splits[part].columns["input"]]
    say(f"evaluating {len(items):,} pairs of {dataset.origin} ({split}) with {pair.backend}")
    return {
        **_head(target, pair.backend, dataset, split),
        "labels": [],
        **measure_retrieval(pair, items, batch_size, max_bad),
    }


def _parts(dataset: DataSet, split: str | None, own: bool) -> tuple[str, list[str]]:
    """(the split that is measured, which of the data set's it is made of); ``own``: the data are the run's own.

    Raises:
        DataError: there is none of that name.
    """
    if split is None:
        split = "all" if not own and any(note.startswith(CUT) for note in dataset.notes) else "val"
    parts = list(dataset.splits) if split == "all" else [split]
    if missing := [part for part in parts if part not in dataset.splits]:
        raise DataError(f"{dataset.name} has no split {missing[0]!r}.", f"It has: {', '.join(dataset.splits)}, all.")
    return split, parts


def _head(target: str | Path, backend: str, dataset: DataSet, split: str) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "target": str(target),
        "backend": backend,
        "data": dataset.origin,
        "split": split,
    }


def _measure(
    model: Model,
    target: str | Path,
    dataset: DataSet,
    split: str,
    parts: Sequence[str],
    batch_size: int,
    max_bad: float,
    beam: int | None,
) -> dict[str, Any]:
    """The report on labelled inputs."""
    table = Table(
        {
            "input": [item for part in parts for item in dataset.splits[part].columns["input"]],
            "label": [label for part in parts for label in match_labels(dataset, part, model.labels)],
        }
    )
    say(f"evaluating {len(table):,} samples of {dataset.origin} ({split}) with {model.backend}")
    found = answer(model, table, batch_size, beam)
    for _, why in found.bad[:5]:
        say(f"  skipped: {why}")
    check_readable(len(found.outcome), len(found.bad), max_bad)
    return {
        **_head(target, model.backend, dataset, split),
        "skipped": len(found.bad),
        "labels": list(model.labels),
        **kind_of(model.task).report(found.outcome, model.labels),
    }


def match_labels(dataset: DataSet, split: str, labels: Sequence[str]) -> Entries:
    """A split's labels as ids of ``labels``, matched by name; one entry a row.

    Raises:
        DataError: a label that is in none of ``labels``.
    """
    kind = kind_of(dataset.task)
    found = raw_labels(dataset, split)
    if not dataset.labels or tuple(dataset.labels) == tuple(labels):
        return found
    used = kind.used(found)
    unknown = [name for i, name in enumerate(dataset.labels) if i in used and name not in labels]
    if unknown:
        near = difflib.get_close_matches(unknown[0], labels, 1)
        guess = f" (did you mean {near[0]!r}?)" if near else ""
        shown = ", ".join(map(repr, unknown[:5])) + (" …" if len(unknown) > 5 else "")
        raise DataError(
            f"The data has labels that the model does not know: {shown}{guess}.",
            f"The model knows {', '.join(labels[:20])}{' …' if len(labels) > 20 else ''}. Rename or remove the others.",
        )
    ids = [labels.index(name) if name in labels else -1 for name in dataset.labels]
    return kind.match(found, ids, len(labels))


def raw_labels(dataset: DataSet, split: str) -> Entries:
    """A split's labels, one entry a row: as arrays where they are numbers, else as the table has them."""
    column = dataset.splits[split].columns["label"]
    if dataset.task not in ("classification", "multi-label", "regression"):
        return column
    found = label_array(dataset, split, range(len(column)))
    assert isinstance(found, np.ndarray)
    return found


def _own_data(path: Path, model: Model, registry: Registry) -> DataSet:
    """The data of the run that ``path`` is, or lies in."""
    for folder in (path, path.resolve().parent, path.resolve().parent.parent):
        if model.backend == "torch" and (folder / "manifest.json").is_file():
            return run_dataset(open_run(folder), str(model.meta["input"]["modality"]), registry)
    data = model.meta.get("data") or {}
    trained_on = f"It was trained on {data['name']} ({data.get('origin', '')}): " if data.get("name") else ""
    raise UsageError(f"{path} is not part of a run, so it has no data of its own.", f"{trained_on}add --data.")


def measure_run(
    run: Run,
    task: SupervisedTask,
    data: Prepared,
    runtime: Runtime,
    logits: torch.Tensor | None,
    *,
    seconds: float,
) -> dict[str, Any]:
    """The end of a run: measure the kept weights on the validation split, write ``evaluation.json`` and
    ``report.html``, and note the figures in ``model/model.json``. Every process takes part; one writes. Logits of
    several windows of one recording are averaged first, so that figures are of recordings.

    Args:
        logits: of the kept weights on the validation split, in store order; None: computed here.
        seconds: of the run so far.

    Returns:
        name to value, without the figures that the data cannot decide.
    """
    store, labels = data.stores["val"], data.labels["val"]
    if logits is None:
        logits, _ = collect(task, Eval(store, labels, data.pipeline, **forward_size(data.pipeline)), runtime)
    logits, rows = by_input(task.head.task, logits, data, "val")
    scores = answers_of(task.head.decode(logits.to(runtime.device))).float().cpu().numpy()
    names = data.dataset.labels
    outcome = _outcome(task, scores, data, "val", rows)
    evaluation = kind_of(task.head.task).report(outcome, names)
    metrics = {name: value for name, value in evaluation["metrics"].items() if value is not None}
    if not runtime.is_main:
        return metrics
    evaluation = {"schema_version": SCHEMA_VERSION, "split": "val", "labels": list(names), **evaluation}
    write_json(run.path / "evaluation.json", evaluation)
    description = run.path / "model" / "model.json"
    if description.is_file():
        write_json(description, {**json.loads(description.read_text(encoding="utf-8")), "metrics": metrics})
    pictures = data.pipeline.modality == "image"
    write_report(
        run.path / "report.html",
        dataset=data.dataset,
        evaluation=evaluation,
        outcome=outcome,
        inputs=[
            _title(item, int(row), data.dataset.modality)
            for item, row in zip(outcome.items, store.kept[rows], strict=True)
        ],
        events=events_of(run.path / "metrics.jsonl"),
        thumbnails=(lambda rows: store.take(np.asarray(rows))) if pictures else None,
        config=run.config,
        manifest=run.manifest,
        skipped={split: one.bad for split, one in data.stores.items()},
        seconds=seconds,
        search=kept_search(run.path),
    )
    return metrics


def by_input(task: str, logits: torch.Tensor, data: Prepared, split: str) -> tuple[torch.Tensor, np.ndarray]:
    """Logits of a split, in store order, averaged over the samples of each input, and the first sample of each. Where
    samples have one answer a token, the kind itself puts them together."""
    store = data.stores[split]
    column = data.tables[split].columns["owner"]
    owners = [column[row] for row in store.kept]
    first = np.unique(owners, return_index=True)[1]
    if kind_of(task).token_level or len(first) == len(owners):
        return logits, np.arange(len(owners))
    return torch.from_numpy(np.stack(average(logits.numpy(), owners))), np.sort(first)


def _outcome(task: SupervisedTask, scores: np.ndarray, data: Prepared, split: str, rows: np.ndarray) -> Outcome:
    """Scores of samples of a split, by ``rows`` of its store, with what their kind reads them by."""
    kind, store = kind_of(task.head.task), data.stores[split]
    table, labels = data.tables[split].take(store.kept[rows]), data.labels[split]
    arrays = store.each(rows) if kind.needs_arrays else ()
    answers: Entries = scores
    sound: dict[str, Any] = {}
    if kind.token_level and isinstance(task.backbone, Frames):
        frames = task.backbone.frames(torch.from_numpy(np.asarray(store.lengths)[rows])).tolist()
        answers = [row[:length] for row, length in zip(scores, frames, strict=True)]
        first = store.first[rows] / cast(Windowed, data.pipeline).rate if isinstance(store, Pieces) else ()
        sound = {"starts": first, "frame_seconds": task.backbone.frame_seconds}
    elif kind.token_level:
        answers = [row[: len(array)] for row, array in zip(scores, arrays, strict=True)]
    return Outcome(
        scores=answers,
        items=table.columns["input"],
        arrays=arrays,
        owner=table.columns["owner"],
        truth=table.columns.get("truth", table.columns["label"] if kind.token_level else labels[rows]),
        **sound,
    )


def _title(item: Any, row: int, modality: str) -> str:
    """What a report calls an input."""
    return shown(item, SHOWN) if modality == "text" else name_of(item, row, modality)
