"""The run folder: made once, filled while training, and all that evaluate, predict and export need afterwards."""

from __future__ import annotations

import json
import os
import platform
import re
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from zoo_registry.errors import UsageError, ZooError

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        path: the folder.
        config: the resolved configuration, as written to config.yaml.
        manifest: versions, weights, data fingerprint, seed, device, status.
    """

    path: Path
    config: dict[str, Any]
    manifest: dict[str, Any]

    def update_config(self, values: dict[str, Any]) -> None:
        """Merge values and write config.yaml."""
        self.config.update(values)
        write_text(self.path / "config.yaml", yaml.safe_dump(self.config, sort_keys=False))

    def update_manifest(self, **values: Any) -> None:
        """Merge values and write manifest.json."""
        self.manifest.update(values)
        write_json(self.path / "manifest.json", self.manifest)

    def remedy(self) -> str:
        """What to do about a run that did not finish."""
        return f"Finish it: zoo {self.manifest.get('verb', 'finetune')} --resume {self.path}"


def write_json(path: Path, value: Any) -> None:
    """Write through a temporary file, so that a reader or a crash never meets half of it."""
    write_text(path, json.dumps(value, indent=2, default=str) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write through a temporary file, so that a reader or a crash never meets half of it.

    Raises:
        ZooError: the disk refused.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ZooError(
            f"{path} cannot be written: {error.strerror}.", "Free some space or check the rights."
        ) from error


def versions(*packages: str) -> dict[str, str]:
    """Installed versions of what decides a run's numbers."""
    found = {"python": platform.python_version()}
    for name in ("zookit", "torch", "numpy", *packages):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def check_free(output: Path) -> None:
    """Raises UsageError where ``output`` exists and is not an empty folder."""
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise UsageError(
            f"The output folder {output} exists and is not empty.",
            f"Choose another --output, or go on with that run: zoo finetune --resume {output}",
        )


def new_folder(output: Path | None, verb: str, model: str, data: str) -> Path:
    """Make ``output``, or ``runs/<time>-<verb>-<model>-<data>``.

    Raises:
        UsageError: ``output`` is taken or cannot be made.
    """
    if output is None:
        parts = (verb, *(re.sub(r"[^A-Za-z0-9_.]+", "_", Path(text).name)[:40] for text in (model, data)))
        base = Path("runs") / "-".join((time.strftime("%Y%m%d-%H%M%S"), *parts))
        output = next(p for i in range(1000) if not (p := base.with_name(base.name + (f"-{i}" if i else ""))).exists())
    check_free(output)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"The output folder {output} cannot be made: {error.strerror}.", "Choose another.") from error
    return output


def start_run(run: Run) -> None:
    """Write config.yaml and manifest.json into a new run folder."""
    (run.path / "model").mkdir(exist_ok=True)
    write_text(run.path / "config.yaml", yaml.safe_dump(run.config, sort_keys=False))
    run.update_manifest(status="running", started=time.strftime("%Y-%m-%dT%H:%M:%S%z"))


def open_run(path: str | Path) -> Run:
    """Read a run folder.

    Raises:
        UsageError: the folder is missing or is no run.
    """
    path = Path(path)
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        config = yaml.safe_load((path / "config.yaml").read_text(encoding="utf-8"))
        if not isinstance(manifest, dict) or not isinstance(config, dict):
            raise ValueError("manifest.json or config.yaml holds no keys and values")
    except (OSError, ValueError, yaml.YAMLError) as error:
        why = f"it has no {Path(error.filename).name}" if isinstance(error, OSError) else error
        what = f"is not a run folder ({why})" if path.exists() else "does not exist"
        how = "Give the folder that finetune or pretrain printed: it holds manifest.json."
        raise UsageError(f"{path} {what}.", how) from error
    return Run(path, config, manifest)


def events_of(path: Path) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl; what a kill cut in two is left out."""
    events = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            events.append(json.loads(line))
        except ValueError:
            continue
    return events
