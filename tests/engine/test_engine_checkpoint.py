from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_toys import EvalRows, TrainRows, conv, mlp, run, vectors
from torch import nn

from zoo.engine import checkpoint
from zoo.engine.checkpoint import Checkpoints, assign, like
from zoo_registry.errors import UsageError, ZooError


def save(store: Checkpoints, value: float, size: int = 4) -> None:
    store.save("last", {"model": {"a": torch.full((size,), float(value))}, "ema": {}}, {"step": int(value)})


def step_of(store: Checkpoints) -> int:
    tensors, state = store.load("last")
    assert tensors["model"]["a"].unique().tolist() == [state["step"]]
    return state["step"]


def test_round_trip_with_tied_and_strided_tensors(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path / "c")
    assert not store.has("last")
    shared = torch.randn(3, 4)
    tensors = {
        "a": shared,
        "b": shared,
        "t": shared.t(),
        "n": torch.tensor(7),
        "half": torch.randn(2).bfloat16(),
        "flag": torch.tensor([True]),
    }
    store.save("last", {"model": tensors}, {"metric": 0.1 + 0.2})
    loaded, state = store.load("last")
    assert state["metric"] == 0.1 + 0.2
    for name, tensor in tensors.items():
        assert torch.equal(loaded["model"][name], tensor)
        assert loaded["model"][name].dtype == tensor.dtype
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["last"]


class Killed(BaseException): ...


def test_whole_at_every_instant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off before every single file operation of a save, the old or the new checkpoint loads, never neither."""
    points = 0
    while True:
        store = Checkpoints(tmp_path / str(points))
        save(store, 1)
        left = points

        def cut(plain: Any) -> Any:
            def call(*args: Any, **options: Any) -> Any:
                nonlocal left
                if left == 0:
                    raise Killed
                left -= 1
                return plain(*args, **options)

            return call

        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", cut(os.rename))
            patch.setattr(os, "fsync", cut(os.fsync))
            patch.setattr(shutil, "rmtree", cut(shutil.rmtree))
            patch.setattr(checkpoint, "save_file", cut(checkpoint.save_file))
            try:
                save(store, 2)
            except Killed:
                pass
            else:
                break
        assert store.has("last")
        assert step_of(store) in (1, 2)
        save(store, 3)
        assert step_of(store) == 3
        points += 1
    assert points >= 10
    assert step_of(store) == 2


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EACCES, "Denied")])
@pytest.mark.parametrize("at", ["save_file", "fsync", "rename"])
def test_failed_write_keeps_the_previous(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, at: str
) -> None:
    store = Checkpoints(tmp_path)
    save(store, 1)
    with monkeypatch.context() as patch:

        def fail(*_: Any) -> None:
            raise error

        if at == "rename":  # the second of the two: the old checkpoint is already aside
            calls = iter([os.rename, fail, os.rename])
            patch.setattr(os, "rename", lambda *args: next(calls)(*args))
        else:
            patch.setattr(checkpoint if at == "save_file" else os, at, fail)
        with pytest.raises(ZooError, match="disk is full" if error.errno == errno.ENOSPC else "Denied") as caught:
            save(store, 2)
    assert "previous checkpoint is intact" in caught.value.remedy
    assert step_of(store) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    if not mount or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(tiny_disk: Path) -> None:
    store = Checkpoints(tiny_disk / "checkpoints")
    save(store, 1, 20_000)
    with pytest.raises(ZooError, match="disk is full"):
        save(store, 2, 60_000)
    assert step_of(store) == 1
    save(store, 3, 20_000)
    assert step_of(store) == 3


@pytest.mark.parametrize("damage", ["truncate", "remove", "state", "foreign", "pickle"])
def test_damaged_or_foreign(tmp_path: Path, damage: str) -> None:
    store = Checkpoints(tmp_path)
    save(store, 1, 1000)
    weights, state = tmp_path / "last" / "model.safetensors", tmp_path / "last" / "state.json"
    if damage == "truncate":
        weights.write_bytes(weights.read_bytes()[:2000])
    elif damage == "remove":
        weights.unlink()
    elif damage == "state":
        state.write_text(state.read_text()[:20])
    elif damage == "foreign":
        state.write_text(json.dumps([1]))
    else:
        weights.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ZooError, match="damaged or is no checkpoint") as caught:
        store.load("last")
    assert caught.value.exit_code == 1


def test_missing_and_newer_format(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    with pytest.raises(ZooError, match="no checkpoint 'last'"):
        store.load("last")
    save(store, 1)
    state = tmp_path / "last" / "state.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "schema_version": 9}))
    with pytest.raises(ZooError, match="format 9"):
        store.load("last")


def test_assign_checks_names_and_shapes() -> None:
    with pytest.raises(ZooError, match=r"2 tensors differ, such as bias"):
        assign(nn.Linear(2, 2), nn.Linear(2, 3).state_dict())
    with pytest.raises(ZooError, match="does not fit"):
        assign(nn.Linear(2, 2), {})


def test_like_takes_the_memory_order() -> None:
    model = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    tensor = torch.randn(2, 3, 4, 4)
    assert like(tensor, model).stride() == model.stride()
    assert torch.equal(like(tensor, model), tensor)


def test_resume_refuses_other_data_settings_and_models(tmp_path: Path) -> None:
    train, val = TrainRows(vectors(), 16), EvalRows(vectors(20, 2), 8)
    run(mlp(), train, val, tmp_path, steps=2, identity={"data": "abc"})
    with pytest.raises(UsageError, match="made with other data"):
        run(mlp(), train, val, tmp_path, steps=2, identity={"data": "abd"}, resume=True)
    with pytest.raises(UsageError, match="made with other settings"):
        run(mlp(), train, val, tmp_path, steps=3, identity={"data": "abc"}, resume=True)
    with pytest.raises(UsageError, match="parameter groups"):
        run(conv(), train, val, tmp_path, steps=2, identity={"data": "abc"}, resume=True)
    state = tmp_path / "checkpoints" / "last" / "state.json"
    content = json.loads(state.read_text())
    del content["progress"]
    state.write_text(json.dumps(content))
    with pytest.raises(ZooError, match="does not hold what this run needs"):
        run(mlp(), train, val, tmp_path, steps=2, identity={"data": "abc"}, resume=True)


def test_disk_full_while_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run ends with a clear error, and continues to the same end once there is room."""
    train, val = TrainRows(vectors(), 16), EvalRows(vectors(20, 2), 8)
    whole = run(mlp(0.2), train, val, tmp_path / "whole", steps=9)
    plain, written = checkpoint.save_file, []

    def fill(tensors: Any, path: Path) -> None:
        written.append(path)
        if len(written) > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        plain(tensors, path)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", fill)
        with pytest.raises(ZooError, match="disk is full"):
            run(mlp(0.2), train, val, tmp_path / "cut", steps=9)
    assert run(mlp(0.2), train, val, tmp_path / "cut", steps=9, resume=True).history == whole.history
