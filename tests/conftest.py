"""Shared fixtures: every test gets a cache and a configuration of its own, and no network."""

from __future__ import annotations

import os
from pathlib import Path

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


@pytest.fixture(scope="session")
def data_path() -> Path:
    """The folder of real data sets: ``$ZOO_DATA_PATH`` or ``shared/data`` beside the checkout."""
    named = os.environ.get("ZOO_DATA_PATH", "")
    for folder in [*filter(None, named.split(os.pathsep)), ROOT.parent / "shared" / "data"]:
        if (Path(folder) / "cats_dogs").is_dir():
            return Path(folder)
    pytest.skip("the real data sets are not on this machine")
