"""The tiny model of pictures and words of the finetuning tests, its weights, a run of it, its exports, and pictures of
three classes."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "multimodal_finetune"))

import tower_toys

import zoo
from zoo.exporting import ExportResult, bundle, export, pairs
from zoo_registry.registry import Registry

NAMES = ("a bar code", "a dot", "some sea grass")
WAYS = ("a photo of {}", "a drawing of {}")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors: more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def short_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latencies are no subject here."""
    monkeypatch.setattr(bundle, "LATENCY_SECONDS", 0.05)
    monkeypatch.setattr(pairs, "LATENCY_SECONDS", 0.05)


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
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tower_toys.write_pictures(tmp_path_factory.mktemp("data") / "pictures")


@pytest.fixture(scope="session")
def captions(pictures: Path) -> Path:
    """A table of the validation pictures with two captions each, of which pictures of a class share theirs."""
    path = pictures.parent / "captions.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "caption", "split"])
        for split in ("train", "val"):
            for name, folder in zip(NAMES, tower_toys.CLASSES, strict=True):
                for picture in sorted((pictures / split / folder).glob("*.png")):
                    writer.writerows([picture, way.format(name), split] for way in WAYS)
    return path


@pytest.fixture(scope="session")
def pairs_run(tmp_path_factory: pytest.TempPathFactory, weights: Path, captions: Path) -> Path:
    """A finished run of pairs that was trained on the captions."""
    folder = tower_toys.write_run(tmp_path_factory.mktemp("run") / "pairs")
    (folder / "config.yaml").write_text(f"model: toy-pair\ndata: {captions}\n")
    (folder / "manifest.json").write_text(
        '{"verb": "pretrain", "status": "finished", "model_id": "toys/toy-pair", "data": {"fingerprint": "old"}}'
    )
    return folder


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> ExportResult:
    """Both towers of ``toy-pair``."""
    return _exported(tmp_path_factory, labels=None)


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> ExportResult:
    """``toy-pair`` between the three classes, in one graph."""
    return _exported(tmp_path_factory, labels=tower_toys.CLASSES)


def _exported(tmp_path_factory: pytest.TempPathFactory, labels: tuple[str, ...] | None) -> ExportResult:
    with pytest.MonkeyPatch.context() as patch:
        found = tower_toys.toy_registry()
        patch.setattr(zoo, "default_registry", lambda: found)
        patch.setenv("ZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("ZOO_OFFLINE", "1")
        patch.setattr(bundle, "LATENCY_SECONDS", 0.05)
        patch.setattr(pairs, "LATENCY_SECONDS", 0.05)
        return export("toy-pair", tmp_path_factory.mktemp("exports") / "out", labels=labels)
