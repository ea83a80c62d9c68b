"""Checkpoints that are whole or not there: written aside, flushed to the disk, then swapped in by renaming.

A checkpoint is a folder of safetensors files and one ``state.json``; nothing in it can run code. Where several machines
train together, the folder must be on storage they share: the first process writes, all read.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from zoo_registry.errors import ZooError

SCHEMA_VERSION = 1
Tensors = dict[str, Tensor]


class Checkpoints:
    """The named checkpoints (``last``, ``best``) in one folder, made when first written to."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def has(self, name: str) -> bool:
        """Whether a complete checkpoint of that name can be loaded."""
        return self._find(name) is not None

    def save(self, name: str, files: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]) -> None:
        """Write ``{file stem: tensors}`` and ``state`` (JSON values) as the checkpoint ``name``.

        Raises:
            ZooError: nothing could be written, as with a full disk; the previous checkpoint is untouched.
        """
        target, fresh, old = self.folder / name, self.folder / f"{name}.tmp", self.folder / f"{name}.old"
        try:
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
            for stem, tensors in files.items():
                write_tensors(fresh / f"{stem}.safetensors", tensors)
            content = {"schema_version": SCHEMA_VERSION, "files": sorted(files), **state}
            (fresh / "state.json").write_text(json.dumps(content))
            for path in [*fresh.iterdir(), fresh]:
                _flush(path)
            # At every instant one of target, fresh or old is complete under a name that _find looks at.
            if target.exists():
                shutil.rmtree(old, ignore_errors=True)
                os.rename(target, old)
            os.rename(fresh, target)
            _flush(self.folder)
            shutil.rmtree(old, ignore_errors=True)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(fresh, ignore_errors=True)
            raise self._failed(name, error) from error

    def load(self, name: str) -> tuple[dict[str, Tensors], dict[str, Any]]:
        """``({file stem: tensors on the CPU}, state)`` of a checkpoint.

        Raises:
            ZooError: there is none, it is damaged, or something else wrote it.
        """
        folder = self._find(name)
        if folder is None:
            raise ZooError(
                f"There is no checkpoint {name!r} in {self.folder}.",
                "Start the run again, or name the folder of a run that has saved one.",
            )
        foreign = ZooError(
            f"{folder} is damaged or is no checkpoint of zoo.",
            "Copy it again from where it came from, or start the run again.",
        )
        try:
            state = json.loads((folder / "state.json").read_text())
        except (OSError, ValueError) as error:
            raise foreign from error
        if not isinstance(state, dict) or not isinstance(state.get("files"), list):
            raise foreign
        if state.get("schema_version") != SCHEMA_VERSION:
            raise ZooError(
                f"{folder} has checkpoint format {state.get('schema_version')}, this zoo reads {SCHEMA_VERSION}.",
                "Continue with the version of zoo that wrote it.",
            )
        try:
            return {stem: load_file(folder / f"{stem}.safetensors") for stem in state["files"]}, state
        except (OSError, SafetensorError) as error:
            raise foreign from error

    def tidy(self, name: str) -> None:
        """Remove what a killed save left beside the checkpoint ``name``."""
        shutil.rmtree(self.folder / f"{name}.tmp", ignore_errors=True)
        if (self.folder / name / "state.json").is_file():
            shutil.rmtree(self.folder / f"{name}.old", ignore_errors=True)

    def _find(self, name: str) -> Path | None:
        # A kill between the two renames of a save leaves the previous checkpoint, whole, as NAME.old.
        for folder in (self.folder / name, self.folder / f"{name}.old"):
            if (folder / "state.json").is_file():
                return folder
        return None

    def _failed(self, name: str, error: Exception) -> ZooError:
        target, old = self.folder / name, self.folder / f"{name}.old"
        if not target.exists() and old.exists():
            os.rename(old, target)
        kept = "The previous checkpoint is intact" if target.exists() else "Nothing was saved before"
        full = getattr(error, "errno", None) == errno.ENOSPC or "no space left" in str(error).lower()
        problem = "the disk is full" if full else str(error)
        return ZooError(
            f"The checkpoint {name!r} could not be written to {self.folder}: {problem}.",
            f"{kept}; make room or choose another --output, then continue with --resume.",
        )


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write one safetensors file. Tensors may share memory (tied weights) and lie in any order."""
    save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, path)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def full(tensor: Tensor) -> Tensor:
    """The whole of a sharded tensor, on every process; other tensors as they are. Collective where sharded."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def full_tensors(tensors: Mapping[str, Any]) -> Tensors:
    """:func:`full` for the tensors among ``tensors``, such as a ``state_dict()``."""
    return {name: full(value.detach()) for name, value in tensors.items() if isinstance(value, Tensor)}


def like(tensor: Tensor, model: Any) -> Tensor:
    """``tensor`` with the device, memory order and sharding of ``model``, in its own dtype."""
    if hasattr(model, "full_tensor"):
        from torch.distributed.tensor import distribute_tensor

        return distribute_tensor(tensor.to(model.device), model.device_mesh, model.placements)
    return torch.empty_like(model, dtype=tensor.dtype, requires_grad=False).copy_(tensor)


@torch.no_grad()
def assign(task: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy ``tensors`` into everything ``task.state_dict()`` lists, in place.

    Raises:
        ZooError: names or shapes differ.
    """
    live = {name: value for name, value in task.state_dict().items() if isinstance(value, Tensor)}
    if live.keys() != tensors.keys() or any(live[name].shape != tensors[name].shape for name in live):
        differing = [
            name
            for name in sorted(live.keys() | tensors.keys())
            if name not in live or name not in tensors or live[name].shape != tensors[name].shape
        ]
        raise ZooError(
            f"The checkpoint does not fit this model: {len(differing)} tensors differ, such as {differing[0]}.",
            "Continue the run with the model, head and labels it was started with.",
        )
    for name, value in live.items():
        value.copy_(like(tensors[name], value))
