"""A finished run made without training: a tiny random network whose head is fitted in closed form."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import zoo
from zoo.config import FinetuneConfig
from zoo.exporting import ExportResult, bundle, export
from zoo.prepared import prepare, read_dataset
from zoo.run import Run, start_run, versions
from zoo.tasks import SupervisedTask
from zoo.trained import build_head, input_dict, pipeline_for, save_trained
from zoo.weights import load_backbone

LABELS = ("bird", "cat", "dog")
SIZES = [(70, 90), (90, 70), (64, 64), (101, 67), (53, 80)]


def draw(label: int, number: int) -> Image.Image:
    """Noise in one of three colours, so that a random network tells them apart, though not always."""
    rng = np.random.default_rng([label, number])
    height, width = SIZES[number % len(SIZES)]
    base = np.array([[150, 90, 90], [90, 150, 90], [90, 90, 150]][label]) + rng.integers(-40, 40, 3)
    small = np.clip(base + rng.normal(0, 40, (8, 8, 3)), 0, 255).astype(np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def write_photos(folder: Path, count: dict[str, int]) -> Path:
    for split, number in count.items():
        for label, name in enumerate(LABELS):
            (folder / split / name).mkdir(parents=True)
            for i in range(number):
                draw(label, i + 1000 * (split == "val")).save(folder / split / name / f"{name}{i}.png")
    return folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos") / "pets", {"train": 16, "val": 8})


@pytest.fixture(scope="session")
def make_run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``make_run(model, task)`` -> run folder on the photos."""

    def make(model: str = "test_resnet") -> Path:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
            registry = zoo.default_registry()
            torch.manual_seed(0)
            loaded = load_backbone(model, weights="none", registry=registry, size=64)
            config = FinetuneConfig(model=model, data=str(photos), weights="none", size=64)
            dataset = read_dataset(config, "image", registry)
            pipeline = pipeline_for(loaded.model_id, loaded.input, registry)
            data = prepare(dataset, pipeline, config, ("train", "val"))
        head_name = "core/classification"
        task = SupervisedTask(loaded.backbone, build_head(head_name, loaded.backbone.dim, dataset.labels, registry))
        task.eval()
        fit_head(task, data.stores["train"].take(np.arange(48)), data.labels["train"], pipeline)
        folder = tmp_path_factory.mktemp("run")
        (folder / "model").mkdir()
        run = Run(
            folder,
            config.model_dump(),
            {"model_id": loaded.model_id, "data": {"name": dataset.name, "fingerprint": dataset.fingerprint}},
        )
        start_run(run)
        meta = {
            "model_id": loaded.model_id,
            "weights_id": loaded.weights_id,
            "weights_sha256": None,
            "plugin": loaded.plugin,
            "plugin_version": loaded.plugin_version,
            "head": head_name,
            "task": dataset.task,
            "labels": list(dataset.labels),
            "input": input_dict(loaded.input),
            "input_name": pipeline.input_name,
            "preprocessing": pipeline.describe(),
            "versions": versions(),
            "metrics": {"accuracy": 0.9},
            "data": {"name": dataset.name, "origin": dataset.origin, "fingerprint": dataset.fingerprint},
        }
        save_trained(run.path / "model", {"backbone": task.backbone.module, "head": task.head}, meta)
        run.update_manifest(status="finished")
        return run.path

    return make


def fit_head(task: SupervisedTask, images: np.ndarray, labels: np.ndarray, pipeline: object) -> None:
    """Ridge regression of the labels on the pooled features."""
    batch = pipeline.prepare({"image": torch.from_numpy(images)})  # type: ignore[attr-defined]
    with torch.no_grad():
        pooled = task.backbone(batch).pooled.double()
        mean, spread = pooled.mean(0), pooled.std(0) + 1e-6
        x = (pooled - mean) / spread
        target = torch.nn.functional.one_hot(torch.from_numpy(labels), 3).double() * 6 - 2
        solved = torch.linalg.solve(x.T @ x + 3.0 * torch.eye(x.shape[1]).double(), x.T @ target)
        weight = (solved / spread[:, None]).T
        task.head.linear.weight.copy_(weight)
        task.head.linear.bias.copy_(target.mean(0) - weight @ mean)


@pytest.fixture(scope="session")
def run(make_run: Callable[..., Path]) -> Path:
    return make_run()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace each network once: what is traced is the same in every test. Time for as long as it takes to see that it
    works."""
    real = bundle.trace

    def trace_once(task: SupervisedTask, path: Path, name: str) -> None:
        key = (name, task.head.task)
        if key not in TRACED:
            real(task, path, name)
            TRACED[key] = path.read_bytes()
        path.write_bytes(TRACED[key])

    monkeypatch.setattr(bundle, "trace", trace_once)
    monkeypatch.setattr(bundle, "LATENCY_SECONDS", 0.05)


TRACED: dict[tuple[str, str], bytes] = {}


@pytest.fixture(scope="session")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    """The plain export, made once. Tests that damage it work on a copy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(bundle, "LATENCY_SECONDS", 0.05)
        return export(run, tmp_path_factory.mktemp("exports") / "plain")


@pytest.fixture
def export_copy(exported: ExportResult, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported.path, tmp_path / "copy"))
