"""What a run says while it runs: ``metrics.jsonl`` and TensorBoard always, a bar on a terminal, JSON lines off it."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TextIO

from torch import Tensor

PICTURES = "pictures"
QUIET_SECONDS = 5.0  # between training lines off a terminal: a log file is read later, by someone in a hurry


class Logger:
    """Writes into a run folder; nothing is made before the first line. Only the main process should call it.

    Args:
        folder: the run folder.
        quiet: no progress and no JSON lines, files only.
        stream: where people read, stderr unless a test says otherwise.
    """

    def __init__(self, folder: Path | str, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self.folder = Path(folder)
        self.quiet = quiet
        self._stream = stream or sys.stderr
        self._file: TextIO | None = None
        self._board: Any = None
        self._bar: Any = None
        self._said = -math.inf
        self.stage, self.total = "main", 0
        self._began = (0, 0.0)

    def begin(self, stage: str, total: int, step: int = 0, evaluated: int = -1) -> None:
        """Open a stage of ``total`` steps that starts or continues at ``step``, last evaluated at step ``evaluated``.

        What a killed run logged past its last checkpoint is dropped: those steps are about to be taken again.
        """
        self.stage, self.total = stage, total
        self._began, self._said = (step, time.monotonic()), -math.inf
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "metrics.jsonl"
        if path.exists():
            _rewind(path, stage, step, evaluated)
        self._file = path.open("a")
        from torch.utils.tensorboard import SummaryWriter

        # One folder a stage: steps start over in each, and purging must not reach into another.
        where = self.folder / "tb" if stage == "main" else self.folder / "tb" / stage
        self._board = SummaryWriter(str(where), purge_step=step + 1 if step else None)
        if not self.quiet and self._stream.isatty():
            self._bar = _progress_bar(self._stream, stage, total, step)

    def train(self, step: int, values: Mapping[str, float]) -> None:
        """Log training values (losses, rate, speed) after ``step`` steps, and the seconds left (``eta_seconds``)."""
        left = self._eta(step, time.monotonic())
        self._write("train", step, {**values, **left})
        if self._bar:
            self._bar.update(0, completed=step, text=_spoken({**values, **left}))

    def evaluation(self, step: int, values: Mapping[str, float], best: bool = False) -> None:
        """Log an evaluation after ``step`` steps."""
        self._write("evaluation", step, values, best=best)
        if self._bar:
            text = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
            self._bar.console.print(f"{self.stage} step {step}: {text}{'  (best)' if best else ''}", highlight=False)

    def pictures(self, step: int, grids: Mapping[str, Tensor]) -> None:
        """Keep pictures (C, H, W) uint8 by name: all in TensorBoard, the newest of each as ``pictures/NAME.png``."""
        from PIL import Image

        folder = self.folder / PICTURES
        for name, pixels in grids.items():
            self._board.add_image(name, pixels, step)
            folder.mkdir(exist_ok=True)
            planes = pixels.permute(1, 2, 0).numpy()
            Image.fromarray(planes[..., 0] if planes.shape[2] == 1 else planes).save(folder / f"{name}.png")

    def end(self) -> None:
        """Close the stage; safe to call twice."""
        if self._bar:
            self._bar.stop()
        if self._board:
            self._board.close()
        if self._file:
            self._file.close()
        self._bar = self._board = self._file = None

    def _write(self, event: str, step: int, values: Mapping[str, float], **extra: Any) -> None:
        assert self._file is not None  # begin() opened it
        numbers = {name: float(value) for name, value in values.items()}
        line = {"event": event, "stage": self.stage, "step": step, **_finite(numbers), **extra}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for name, value in numbers.items():
            self._board.add_scalar(f"{event}/{name}", value, step)
        if event == "evaluation":
            self._board.flush()
        now = time.monotonic()
        due = event == "evaluation" or now - self._said >= QUIET_SECONDS or step == self.total
        if not self.quiet and not self._bar and due:
            self._said = now
            short = {name: float(f"{value:.5g}") if isinstance(value, float) else value for name, value in line.items()}
            left = self._eta(step, now)
            print(json.dumps({**short, "steps": self.total, **left}), file=self._stream, flush=True)

    def _eta(self, step: int, now: float) -> dict[str, float]:
        first, began = self._began
        if step <= first:
            return {}
        return {"eta_seconds": round((now - began) / (step - first) * (self.total - step), 1)}


def _spoken(values: Mapping[str, float]) -> str:
    """The training values that fit beside a bar."""
    parts = []
    for name, value in values.items():
        if name == "loss" or name.endswith("/loss"):
            parts.append(f"{name} {value:.4f}")
    if speed := values.get("samples_per_second"):
        parts.append(f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.2g}/s")
    if "mfu" in values:
        parts.append(f"MFU {values['mfu']:.0%}")
    elif "tflops" in values:
        parts.append(f"{values['tflops']:.3g} TFLOP/s")
    if "eta_seconds" in values:
        parts.append(f"{timedelta(seconds=round(values['eta_seconds']))} left")
    return "  ".join(parts)


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """NaN and infinity have no JSON form."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _rewind(path: Path, stage: str, step: int, evaluated: int) -> None:
    kept = []
    for line in path.read_text().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # the line a kill cut in two
            continue
        limit = step if entry["event"] == "train" else evaluated
        if entry["stage"] != stage or entry["step"] <= limit:
            kept.append(line)
    fresh = path.with_suffix(".tmp")
    fresh.write_text("".join(f"{line}\n" for line in kept))
    os.replace(fresh, path)


def _progress_bar(stream: TextIO, stage: str, total: int, step: int) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
        console=Console(file=stream),
    )
    bar.add_task(stage, total=total, completed=step, text="")
    bar.start()
    return bar
