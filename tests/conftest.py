"""Shared fixtures: every test gets a cache and a configuration of its own, and no network."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def private_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh cache and config per test, and no hub, so that no test depends on another or on the machine."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("ZOO_CACHE", str(home / "cache"))
    monkeypatch.setenv("ZOO_CONFIG", str(home / "config.toml"))
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("ZOO_DATA_PATH", raising=False)
    return home


@pytest.fixture(scope="session", autouse=True)
def onnx_functions_once() -> Iterator[None]:
    """torch makes its table of ONNX functions anew for every export, which takes longer than to export a small network:
    here once for all tests of a process."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    export = torch.onnx.export

    def with_kept_table(*args: Any, **options: Any) -> Any:
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        if not hasattr(ONNXRegistry.from_torchlib, "cache_info"):
            ONNXRegistry.from_torchlib = staticmethod(functools.cache(ONNXRegistry.from_torchlib))
        return export(*args, **options)

    torch.onnx.export = with_kept_table
    yield
    torch.onnx.export = export


@pytest.fixture(scope="session")
def data_path() -> Path:
    """The folder of real data sets: ``$ZOO_DATA_PATH`` or ``shared/data`` beside the checkout."""
    named = os.environ.get("ZOO_DATA_PATH", "")
    for folder in [*filter(None, named.split(os.pathsep)), ROOT.parent / "shared" / "data"]:
        if (Path(folder) / "cats_dogs").is_dir():
            return Path(folder)
    pytest.skip("the real data sets are not on this machine")
