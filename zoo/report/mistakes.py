"""What a model gets wrong, one function a task, as values for the page's template."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data.items import shorten
from zoo.entities import Spans, find, matches, scheme_of
from zoo.kinds import Outcome
from zoo.kinds.spans import compare, measured_answers
from zoo.kinds.tokens import tagged
from zoo.kinds.transcription import faults, texts

THUMBNAIL = 150
MOST = 24
MOST_WORDS = 120
AROUND = 120
MOST_CHARACTERS = 400
Thumbnails = Callable[[Sequence[int]], np.ndarray]


def worst_samples(
    task: str,
    outcome: Outcome,
    inputs: Sequence[str],
    names: Sequence[str],
    thumbnails: Thumbnails | None,
    texts: bool,
) -> dict[str, Any]:
    """The wrong answers a classifier was surest of; for regression the largest errors.

    Args:
        inputs: names of the samples, or the ``texts`` themselves.
    """
    scores, labels = np.asarray(outcome.scores), np.asarray(outcome.truth)
    if task == "regression":
        error = np.abs(scores.reshape(len(scores)) - labels.reshape(len(labels)))
        rows = np.argsort(-error, kind="stable")[:MOST]
        total = len(error)
        lines = [(f"true {labels.ravel()[r]:.4g}", f"predicted {scores.ravel()[r]:.4g}", "") for r in rows]
    elif task == "multi-label":
        wrong = (scores >= 0.5) != (labels >= 0.5)
        sureness = np.where(wrong, np.abs(scores - 0.5), -1)
        worst = sureness.max(1)
        rows = np.array([r for r in np.argsort(-worst, kind="stable")[:MOST] if worst[r] >= 0], dtype=int)
        total = int(wrong.any(1).sum())
        lines = []
        for r in rows:
            which = int(sureness[r].argmax())
            has, said = ("has", "not found") if labels[r, which] >= 0.5 else ("has no", "found")
            lines.append((f"{has} {names[which]}", said, f"{scores[r, which]:.1%}"))
    else:
        best = scores.argmax(1)
        bad = np.flatnonzero(best != labels)
        rows = bad[np.argsort(-scores[bad, best[bad]], kind="stable")][:MOST]
        total = len(bad)
        lines = [(f"true {names[labels[r]]}", f"predicted {names[best[r]]}", f"{scores[r, best[r]]:.1%}") for r in rows]
    pictures = thumbnails(rows.tolist()) if thumbnails is not None and len(rows) else [None] * len(rows)
    cards = [
        {
            "image": None if picture is None else _data_uri(picture),
            "true": true,
            "predicted": predicted,
            "sure": sure,
            "text": inputs[row] if texts else "",
            "name": "" if texts else _short(inputs[row]),
            "path": "" if texts else str(inputs[row]),
        }
        for row, picture, (true, predicted, sure) in zip(rows, pictures, lines, strict=True)
    ]
    return {"total": total, "n": len(labels), "cards": cards}


def worst_sentences(outcome: Outcome, names: Sequence[str]) -> dict[str, Any]:
    """The sentences with the most wrong entities (or wrong tags): their words in parts, each part an entity or what is
    between, and the entities that were missed."""
    scheme = scheme_of(names)
    given, wanted, lengths, _ = tagged(outcome, scheme)
    ends = np.cumsum(lengths)
    cards = []
    for item, end, length in zip(outcome.items, ends, lengths, strict=True):
        one, other = given[end - length : end], wanted[end - length : end]
        if np.array_equal(one, other):
            continue
        words = item if isinstance(item, list) else [str(item)]
        if scheme is None:
            wrong = np.flatnonzero(one != other)
            tags = [names[i] if i >= 0 else "–" for i in one]
            found = Spans(wrong, wrong + 1, one[wrong])
            parts = _parts(words, found, [tags[i] for i in wrong], np.zeros(len(wrong), bool))
            missed = [f"{words[i]}: {names[other[i]]}" for i in wrong[:MOST]]
            errors = len(wrong)
        else:
            size = np.array([length])
            found, real = find(one, size, scheme), find(other, size, scheme)
            right = matches(found, real)
            lost = np.flatnonzero(~matches(real, found))
            parts = _parts(words, found, [scheme.types[kind] for kind in found.kind], right)
            missed = [f"{' '.join(words[real.start[i] : real.stop[i]])}: {scheme.types[real.kind[i]]}" for i in lost]
            errors = len(lost) + int((~right).sum())
        cards.append({"parts": parts, "missed": missed, "errors": errors})
    cards.sort(key=lambda card: -int(card["errors"]))  # type: ignore[call-overload]
    return {"total": len(cards), "n": len(lengths), "cards": cards[:MOST]}


def worst_answers(outcome: Outcome) -> dict[str, Any]:
    """The wrong answers the model was surest of, farthest from the truth first."""
    given, truth = measured_answers(outcome)
    windows = {int(owner): item for owner, item in zip(outcome.owner, outcome.items, strict=True)}
    cards = []
    for window, one, wanted in zip((windows[owner] for owner in sorted(windows)), given, truth, strict=True):
        f1, exact = compare(one.text, wanted)
        if exact:
            continue
        place = wanted[0]["start"] if wanted else one.start or 0
        start, stop = max(0, place - AROUND), place + AROUND
        cards.append(
            {
                "question": shorten(window.question, 200),
                "given": shorten(one.text, 200) or "no answer",
                "wanted": " or ".join(dict.fromkeys(shorten(w["text"], 200) for w in wanted)) or "no answer",
                "sure": f"{one.score:.1%}",
                "around": f"{'…' if start else ''}{window.context[start:stop]}"
                f"{'…' if stop < len(window.context) else ''}",
                "order": (f1, -one.score),
            }
        )
    cards.sort(key=lambda card: card["order"])  # type: ignore[arg-type, return-value]
    return {"total": len(cards), "n": len(given), "cards": cards[:MOST]}


def worst_transcripts(outcome: Outcome, names: Sequence[str], inputs: Sequence[str]) -> dict[str, Any]:
    """The recordings with the most wrong words.

    Args:
        inputs: names of the recordings.
    """
    cards: list[dict[str, Any]] = []
    for given, wanted, name in zip(texts(outcome, names), outcome.truth, inputs, strict=True):
        wrong, words, *_, right = faults(given, str(wanted))
        if not right:
            cards.append(
                {
                    "given": shorten(given, MOST_CHARACTERS) or "nothing",
                    "wanted": shorten(str(wanted), MOST_CHARACTERS) or "nothing",
                    "wrong": f"{wrong} of {words} words",
                    "name": _short(name),
                    "path": name,
                    "errors": wrong,
                }
            )
    cards.sort(key=lambda card: -card["errors"])
    return {"total": len(cards), "n": len(outcome), "cards": cards[:MOST]}


def _parts(words: Sequence[str], found: Spans, names: Sequence[str], right: np.ndarray) -> list[dict[str, str]]:
    """A sentence as ``{"text", "label", "mark"}``: entities, marked right or wrong, and what is between them."""
    parts, at = [], 0
    for start, stop, name, good in zip(found.start, found.stop, names, right, strict=True):
        if start >= MOST_WORDS:
            break
        parts.append({"text": " ".join(words[at:start]), "label": "", "mark": ""})
        parts.append({"text": " ".join(words[start:stop]), "label": name, "mark": "right" if good else "wrong"})
        at = int(stop)
    rest = " ".join(words[at:MOST_WORDS]) + (" …" if len(words) > max(at, MOST_WORDS) else "")
    return [part for part in [*parts, {"text": rest, "label": "", "mark": ""}] if part["text"]]


def _data_uri(pixels: np.ndarray) -> str:
    """uint8 (C, H, W) as a small JPEG inside a link."""
    from PIL import Image

    planes = pixels.transpose(1, 2, 0)
    image = Image.fromarray(np.ascontiguousarray(planes[..., 0] if planes.shape[2] == 1 else planes))
    image.thumbnail((THUMBNAIL * 2, THUMBNAIL * 2))
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _short(name: str) -> str:
    return "/".join(Path(str(name)).parts[-2:])
