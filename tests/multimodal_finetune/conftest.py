"""A tiny model of pictures and words, its weights, a run of pairs, and pictures of three classes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

import tower_toys

import zoo
from zoo_registry.registry import Registry


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors: more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Iterator[Path]:
    """The folder of the package with the weights."""
    folder = tmp_path_factory.mktemp("weights")
    sys.path.insert(0, str(folder))
    tower_toys.write_weights(folder)
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture(autouse=True)
def registry(weights: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    found = tower_toys.toy_registry()
    monkeypatch.setattr(zoo, "default_registry", lambda: found)
    return found


@pytest.fixture(scope="session")
def pairs_run(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Path:
    return tower_toys.write_run(tmp_path_factory.mktemp("run") / "pairs")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tower_toys.write_pictures(tmp_path_factory.mktemp("data") / "pictures")
