"""Runs on tones, and their exports, made once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from sound_runs import HEADS, finish_run, sound_registry, write_speech, write_tones

import zoo
from zoo.exporting import ExportResult, bundle, export

Toys = Callable[[], AbstractContextManager[None]]


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Toys:
    """``with toys():`` the tiny networks are installed, as a plugin of somebody else, and exports are timed
    no longer than it takes. Tests elsewhere see none of it."""
    cache, registry = tmp_path_factory.mktemp("cache"), sound_registry()

    @contextmanager
    def installed() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ZOO_CACHE", str(cache))
            patch.setattr(zoo, "default_registry", lambda: registry)
            patch.setattr(bundle, "LATENCY_SECONDS", 0.05)
            yield

    return installed


@pytest.fixture(autouse=True)
def with_toys(toys: Toys) -> Iterator[None]:
    with toys():
        yield


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("tones") / "pitches", {"train": 20, "val": 9})


@pytest.fixture(scope="session")
def sound_run(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``sound_run(model)`` -> a finished run that tells pitches apart, made once."""
    made: dict[str, Path] = {}

    def make(model: str = "toys/listener") -> Path:
        if model not in made:
            made[model] = finish_run(tmp_path_factory.mktemp("run") / "run", tones, "core/classification", model=model)
        return made[model]

    return make


@pytest.fixture(scope="session")
def speech_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Path]]:
    """``speech_run(task)`` -> (a finished run with a random head, its data), made once."""
    made: dict[str, tuple[Path, Path]] = {}

    def make(task: str) -> tuple[Path, Path]:
        if task not in made:
            folder = tmp_path_factory.mktemp("speech")
            data = write_speech(folder / "data", task)
            made[task] = finish_run(folder / "run", data, HEADS[task], task=task), data
        return made[task]

    return make


@pytest.fixture(scope="session")
def speech_export(
    speech_run: Callable[[str], tuple[Path, Path]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], ExportResult]:
    """``speech_export(task)`` -> the plain export of that run, made once."""
    made: dict[str, ExportResult] = {}

    def make(task: str) -> ExportResult:
        if task not in made:
            made[task] = export(speech_run(task)[0], tmp_path_factory.mktemp("exports") / task)
        return made[task]

    return make


@pytest.fixture(scope="session")
def sound_export(sound_run: Callable[..., Path], toys: Toys, tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    """The plain export of the run."""
    with toys():
        return export(sound_run(), tmp_path_factory.mktemp("exports") / "plain")
