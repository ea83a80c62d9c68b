"""A plugin distribution built apart, installed beside zookit, and used through the command line and the API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "zoo_tinynet"
Zoo = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has built and installed the plugin."""
    pytest.importorskip("hatchling", reason="building the plugin needs hatchling")
    folder = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", folder, SOURCE], check=True, capture_output=True)
    return folder


@pytest.fixture
def python(site: Path, monkeypatch: pytest.MonkeyPatch) -> Zoo:
    """Run a line of Python with the plugin installed."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))

    def run(code: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def zoo(python: Zoo) -> Zoo:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return python(f"import sys; from zoo.cli.main import run; sys.exit(run({list(arguments)!r}))")

    return run


def test_it_is_listed_with_its_origin(zoo: Zoo) -> None:
    listed = json.loads(zoo("list", "tin*", "--json").stdout)["models"]
    (model,) = [m for m in listed if m["id"] == "tiny/tiniest"]
    assert (model["name"], model["plugin"], model["dim"]) == ("tiniest", "zoo-tinynet", 16)
    plugins = json.loads(zoo("plugins", "--json").stdout)["plugins"]
    (record,) = [p for p in plugins if p["name"] == "tiny"]
    assert (record["distribution"], record["version"], record["status"]) == ("zoo-tinynet", "0.3.0", "ok")
    assert record["provides"]["models"] == 2


def test_its_names_resolve(zoo: Zoo) -> None:
    for name in ("tiniest", "wee", "tiny/tiniest", "tiny/wee"):
        assert json.loads(zoo("info", name, "--json").stdout)["id"] == "tiny/tiniest"
    assert json.loads(zoo("info", "tiny/resnet50", "--json").stdout)["dim"] == 16


def test_it_changes_the_meaning_of_no_name(python: Zoo) -> None:
    """Every bare name and alias that meant something without the plugin means the same with it."""
    code = """
import json
from zoo_registry.registry import build_registry
def meanings(registry):
    names = {n for e in registry.models() if e.namespace != "tiny" for n in (e.spec.name, e.id, *e.spec.aliases)}
    return {n: (m.id, m.weights and m.weights.tag) for n in names for m in [registry.model(n)]}
import os
with_plugin = build_registry()
os.environ["ZOO_PLUGINS_DENY"] = "tiny"
without = build_registry()
assert any(e.namespace == "tiny" for e in with_plugin.models())
assert not any(e.namespace == "tiny" for e in without.models())
before, after = meanings(without), meanings(with_plugin)
print(json.dumps({"names": len(before), "changed": [n for n in before if before[n] != after[n]]}))
"""
    done = python(code)
    told = json.loads(done.stdout)
    assert told["names"] > 2000, done.stderr
    assert told["changed"] == []


def test_its_backbone_computes(python: Zoo) -> None:
    code = """
import torch
from zoo.protocols import Backbone
from zoo_registry import build_registry, load_builder
spec = build_registry().model("tiniest").spec
backbone = load_builder(spec.builder, spec.requires, spec.extra)(spec, spec.input, None, None)
assert isinstance(backbone, Backbone)
features = backbone(backbone.example_inputs(3), ("pooled", "tokens"))
grouped = [name for _, params in backbone.layer_groups() for name, _ in params]
assert grouped == [name for name, _ in backbone.named_parameters()]
print(tuple(features.pooled.shape), tuple(features.tokens.shape), features.grid)
"""
    done = python(code)
    assert done.stdout.strip() == "(3, 16) (3, 64, 16) (8, 8)", done.stderr


def test_it_loads_through_the_public_api(python: Zoo) -> None:
    done = python("import zoo; b = zoo.load('tiniest', weights='none'); print(b.model_id, b.plugin, b.plugin_version)")
    assert done.stdout.strip() == "tiny/tiniest zoo-tinynet 0.3.0", done.stderr
