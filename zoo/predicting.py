"""``zoo predict``: labels and probabilities for files. With an export folder nothing here imports torch."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.console import say
from zoo.serve_model import as_prediction
from zoo.targets import Model, check_readable, decode_all, open_target
from zoo_registry.errors import DataError, UsageError

# Only what a folder is searched for; a file that is named is always tried.
SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .gif .bmp .tif .tiff .ppm .pgm .jp2 .avif .mpo".split()  # noqa: SIM905
)


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


def find_inputs(inputs: Sequence[str | Path]) -> list[Path]:
    """Files, folders (searched recursively, natural order) and globs as a list of files.

    Raises:
        DataError: a path that does not exist, a glob without matches, or a folder without any image.
    """
    found: list[Path] = []
    for one in inputs:
        path = Path(one)
        if path.is_dir():
            inside = (p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            files = sorted((p for p in inside if not p.name.startswith(".")), key=natural_key)
            if not files:
                raise DataError(f"The folder {path} holds no images.", "Name the files, or another folder.")
            found += files
        elif path.exists():
            found.append(path)
        else:
            matches = [Path(match) for match in glob.glob(str(one), recursive=True)]
            if not matches:
                raise DataError(f"{one} does not exist.", "Give files, folders or a pattern such as 'photos/*.jpg'.")
            found += sorted((p for p in matches if p.is_file()), key=natural_key)
    return found


def predict_inputs(model: Model, inputs: Sequence[Any], *, batch_size: int = 32) -> Predictions:
    """Predict paths, bytes or arrays with an opened model; unreadable ones are counted, said and left out."""
    result = Predictions()
    names = [one if isinstance(one, str | Path) else f"input {i}" for i, one in enumerate(inputs)]
    for good, bad in decode_all(model, inputs, batch_size):
        for position, why in bad:
            result.bad.append((str(names[position]), why))
        if good:
            _, scores = model.run([array for _, array in good])
            for (position, _), row in zip(good, scores, strict=True):
                prediction = as_prediction(row, model.task, model.labels)
                result.rows.append({"input": str(names[position]), **prediction})
    if result.bad:
        say(f"skipped {len(result.bad)} of {len(inputs)} inputs that could not be read:")
        for name, why in result.bad[:20]:
            say(f"  {why if name in why else f'{name}: {why}'}")
        if len(result.bad) > 20:
            say(f"  … and {len(result.bad) - 20} more")
    return result


def keep_top(scores: dict[str, float], top: int | None) -> dict[str, float]:
    """The ``top`` highest scores, best first; all of them in label order for None."""
    if top is None:
        return scores
    return dict(sorted(scores.items(), key=lambda pair: -pair[1])[:top])


def predict(
    target: str | Path,
    inputs: Sequence[Any],
    *,
    top: int | None = None,
    batch_size: int = 32,
    max_bad: float = 0.05,
) -> list[dict[str, Any]]:
    """Predict with a run, a checkpoint or an export.

    Args:
        target: run folder, checkpoint folder, ``model/`` folder, or export folder (needs onnxruntime alone).
        inputs: files, folders, globs; or ``bytes`` and arrays.
        top: keep this many scores, best first; None: all.
        batch_size: inputs at once.
        max_bad: largest share of unreadable inputs that is skipped.

    Returns:
        ``[{"input", "label", "score", "scores"}]`` in input order. ``scores`` maps labels to probabilities. For
        multi-label ``label`` is a list; for regression it is None and ``score`` is the value.

    Raises:
        UsageError: no such target, or no inputs. DataError: too many inputs cannot be read.
    """
    if not inputs:
        raise UsageError("Nothing to predict.", "Give files or folders.")
    model = open_target(target)
    named = [find_inputs([one]) if isinstance(one, str | Path) else [one] for one in inputs]
    result = predict_inputs(model, [one for group in named for one in group], batch_size=batch_size)
    result.check(max_bad)
    return [{**row, "scores": keep_top(row["scores"], top)} for row in result.rows]
