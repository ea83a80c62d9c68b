"""``zoo predict``: labels, probabilities and texts for files and texts. With an export folder nothing here imports
torch."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo import text_inputs
from zoo.console import say
from zoo.data import items
from zoo.data.dataset import Table
from zoo.kinds import kind_of
from zoo.serve_model import OnnxModel
from zoo.targets import Model, answer, check_beam, check_readable, open_target
from zoo_registry.errors import DataError, UsageError

# Only what a folder is searched for; a file that is named is always tried.
SUFFIXES = {
    **items.EXTENSIONS,
    "image": frozenset(
        ".jpg .jpeg .jpe .jfif .png .webp .gif .bmp .tif .tiff .ppm .pgm .jp2 .avif .mpo".split()  # noqa: SIM905
    ),
}
EXAMPLES = {"audio": "clips/*.wav"}


@dataclass
class Predictions:
    """Rows in input order, and what could not be read.

    Attributes:
        rows: ``{"input", "label", "score", "scores"}``.
        bad: (input, why).
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)

    def check(self, max_bad: float) -> None:
        """Raise DataError where all inputs, or a larger share than ``max_bad``, could not be read."""
        check_readable(len(self.rows), len(self.bad), max_bad)


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Sorts img2 before img10."""
    parts = re.split(r"(\d+)", str(path).lower())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def find_inputs(inputs: Sequence[str | Path], modality: str = "image") -> list[Path]:
    """Files, folders (searched recursively, natural order) and globs as a list of files.

    Raises:
        DataError: a path that does not exist, a glob without matches, or a folder without any file of the modality.
    """
    wanted, example = SUFFIXES.get(modality, frozenset()), EXAMPLES.get(modality, "photos/*.jpg")
    found: list[Path] = []
    for one in inputs:
        path = Path(one)
        if path.is_dir():
            inside = (p for p in path.rglob("*") if p.suffix.lower() in wanted and p.is_file())
            files = sorted((p for p in inside if not p.name.startswith(".")), key=natural_key)
            if not files:
                what = "sounds" if modality == "audio" else f"{modality}s"
                raise DataError(f"The folder {path} holds no {what}.", "Name the files, or another folder.")
            found += files
        elif path.exists():
            found.append(path)
        else:
            matches = [Path(match) for match in glob.glob(str(one), recursive=True)]
            if not matches:
                raise DataError(f"{one} does not exist.", f"Give files, folders or a pattern such as {example!r}.")
            found += sorted((p for p in matches if p.is_file()), key=natural_key)
    return found


def modality_of(model: Model) -> str:
    """``"image"``, ``"text"``, ...: what an opened model takes."""
    return str((model.meta.get("input") or {}).get("modality") or model.meta["preprocessing"].get("kind", "image"))


def predict_inputs(
    model: Model,
    inputs: Sequence[Any],
    *,
    batch_size: int = 32,
    max_new_tokens: int | None = None,
    beam: int | None = None,
) -> Predictions:
    """Predict paths, bytes, arrays, sounds or text items with an opened model; unreadable ones are counted, said and
    left out.

    Args:
        max_new_tokens: how far a language model goes on.
        beam: texts that are followed at once where speech is recognised; None: greedy decoding.

    Raises:
        UsageError: a beam for another task, or for an export.
    """
    result = Predictions()
    check_beam(model, beam)
    if modality_of(model) == "text":
        names = [text_inputs.shown_input(one) for one in inputs]
        shown = [items.shown(one) for one in inputs]
        if model.task != "generation":
            _say_cut(model, inputs)
    else:
        names = [_name(one, i) for i, one in enumerate(inputs)]
        shown = names
    if model.task == "generation":
        answered, predictions, bad = _continue(model, inputs, max_new_tokens)
    else:
        found = answer(model, Table({"input": list(inputs)}), batch_size, beam)
        answered, bad = sorted(set(found.outcome.owner)), found.bad
        if found.long:
            _say_long(model, found.long, len(inputs))
        predictions = kind_of(model.task).predictions(found.outcome, model.labels)
    result.bad = [(shown[position], why) for position, why in bad]
    result.rows = [{"input": names[i], **row} for i, row in zip(answered, predictions, strict=True)]
    if result.bad:
        say(f"skipped {len(result.bad)} of {len(inputs)} inputs that could not be read:")
        for name, why in result.bad[:20]:
            say(f"  {why if name in why else f'{name}: {why}'}")
        if len(result.bad) > 20:
            say(f"  … and {len(result.bad) - 20} more")
    return result


def _name(item: Any, number: int) -> str:
    """What an item of images or sounds is called: its path, with the stretch of it that is meant, else its number."""
    item = str(item) if isinstance(item, Path) else item
    return f"input {number}" if items.path_of(item) is None else items.name_of(item, number, "")


def _say_long(model: Model, long: int, total: int) -> None:
    assert model.parts is not None
    limit = model.parts.window / model.meta["preprocessing"]["rate"]
    if model.parts.seam is not None:
        how = "cut in pauses, and the texts of the parts joined"
    else:
        how = "heard in windows, whose answers are averaged"
    say(f"{long:,} of {total:,} recordings are longer than {limit:g} s: they were {how}")


def _say_cut(model: Any, inputs: Sequence[Any]) -> None:
    reader: Any = model.texts if isinstance(model, OnnxModel) else model.pipeline
    if not hasattr(reader, "count_cut"):
        return
    # No token is less than a byte: short texts need not be tokenised again to know.
    sizes = [sum(len(text.encode(errors="replace")) for text in items.texts_of(one)) for one in inputs]
    long = [one for one, size in zip(inputs, sizes, strict=True) if size > model.tokens.max_length // 2]
    if cut := reader.count_cut(one for one in long if isinstance(one, str | tuple | list)):
        say(f"{cut:,} of {len(inputs):,} texts are longer than {model.tokens.max_length} tokens and were cut there")


def _continue(
    model: Any, inputs: Sequence[Any], max_new_tokens: int | None
) -> tuple[list[int], list[dict[str, Any]], list[tuple[int, str]]]:
    """(which inputs, how each goes on, which could not be read and why)."""
    from zoo.continuing import continue_texts

    found = continue_texts(model, inputs, max_new_tokens)
    bad = [(i, one.problem) for i, one in enumerate(found) if isinstance(one, DataError)]
    good = [i for i, one in enumerate(found) if not isinstance(one, DataError)]
    return good, [{"label": found[i], "score": None, "scores": {}} for i in good], bad


def keep_top(scores: dict[str, float], top: int | None) -> dict[str, float]:
    """The ``top`` highest scores, best first; all of them in label order for None."""
    if top is None:
        return scores
    return dict(sorted(scores.items(), key=lambda pair: -pair[1])[:top])


def predict(
    target: str | Path,
    inputs: Sequence[Any],
    *,
    pair: str | None = None,
    column: str | None = None,
    top: int | None = None,
    batch_size: int = 32,
    max_bad: float = 0.05,
    max_new_tokens: int | None = None,
    beam: int | None = None,
    labels: Sequence[str] | None = None,
    templates: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Predict with a run, a checkpoint or an export, or with a model of pairs and labels.

    Args:
        target: run folder, checkpoint folder, ``model/`` folder, or export folder (needs onnxruntime alone); with
            ``labels`` the name of a model of images (or sounds) and texts, a pretraining run or an export of one.
        inputs: of an image model files, folders, globs, ``bytes`` and arrays; of a model of sound the same, parts of
            files (``{"path", "start", "end"}``) and waveforms (``{"array", "sampling_rate"}``); of a text model texts,
            pairs, lists of words, questions (``{"question", "context"}``), and files of these as ``Path`` (a str is a
            text).
        pair: the second text of texts that come alone, or the context of questions.
        column: of tables of texts, where the text is; None: as it is recognised.
        top: keep this many scores, best first; None: all.
        batch_size: inputs at once.
        max_bad: largest share of unreadable inputs that is skipped.
        max_new_tokens: how far a language model goes on; None: 50, or half of what it takes where that is less.
        beam: texts that are followed at once where a run recognises speech; None: greedy decoding.
        labels: names to choose between, zero-shot; scores are a softmax over them.
        templates: sentences with ``{}`` for the label, whose vectors are averaged; None: :mod:`zoo.prompts`.

    Returns:
        ``[{"input", "label", "score", "scores"}]`` in input order. ``scores`` maps labels to probabilities. For
        multi-label ``label`` is a list; for regression it is None and ``score`` is the value; see :mod:`zoo.kinds` for
        the others.

    Raises:
        UsageError: no such target, no inputs, or options that do not fit the model.
        DataError: too many inputs cannot be read.
    """
    if not inputs:
        raise UsageError("Nothing to predict.", "Give files, folders or texts.")
    model = open_target(target, labels, templates)
    found = gather(model, inputs, pair=pair, column=column)
    result = predict_inputs(model, found, batch_size=batch_size, max_new_tokens=max_new_tokens, beam=beam)
    result.check(max_bad)
    return [{**row, "scores": keep_top(row["scores"], top)} for row in result.rows]


def gather(model: Model, inputs: Sequence[Any], *, pair: str | None = None, column: str | None = None) -> list[Any]:
    """Inputs of either modality as the model's items; see :func:`predict`.

    Raises:
        UsageError: ``pair`` or ``column`` for a model that takes no texts, or a question without a context.
        DataError: a file that is not there, or holds nothing for the model.
    """
    if modality_of(model) == "text":
        return text_inputs.text_items(inputs, model.task, pair=pair, column=column)
    if pair is not None or column is not None:
        raise UsageError(f"This model takes {modality_of(model)} files.", "Leave --pair and --input-column out.")
    modality = modality_of(model)
    named = [find_inputs([one], modality) if isinstance(one, str | Path) else [one] for one in inputs]
    return [one for group in named for one in group]
