"""A broken plugin costs its own records and nothing else."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from zoo_registry import DatasetSpec, HeadSpec, InputSpec, build_registry, hookimpl
from zoo_registry.errors import MissingDependency, PluginError, UnknownName, UsageError


def statuses(registry: Any) -> dict[str, str]:
    return {record.name: record.status for record in registry.plugins()}


def error_of(registry: Any, name: str) -> str:
    return next(record.error for record in registry.plugins() if record.name == name)


@pytest.fixture
def good(make: Any) -> Any:
    return make.plugin(make.model("net", default_weights="t"), weights=[make.weights("net", "t")])


def test_a_plugin_that_loads(build: Any, good: Any) -> None:
    registry = build(good=good)
    (record,) = registry.plugins()
    assert (record.name, record.distribution, record.version, record.status) == ("good", "dist-good", "1.0", "ok")
    assert record.milliseconds > 0
    assert record.file.endswith("conftest.py")
    assert [entry.id for entry in registry.models()] == ["good/net"]
    assert [entry.id for entry in registry.weights()] == ["good/net@t"]
    assert [weights.tag for weights in registry.weights_of("good/net")] == ["t"]
    assert registry.weights_of("good/none") == []


def failing(error: BaseException) -> Any:
    def load() -> object:
        raise error

    return load


@pytest.mark.parametrize(
    "error", [ImportError("no module"), SyntaxError("bad"), RuntimeError("two\nlines"), SystemExit(3), AssertionError()]
)
def test_import_failures(build: Any, good: Any, capsys: Any, error: BaseException) -> None:
    registry = build(bad=failing(error), good=good)
    assert statuses(registry) == {"bad": "failed", "good": "ok"}
    assert type(error).__name__ in error_of(registry, "bad")
    talk = capsys.readouterr()
    assert talk.out == ""
    assert len(talk.err.splitlines()) == 1
    assert "bad" in talk.err
    record = registry.plugins()[0]
    assert record.file.startswith(__file__)


def test_ctrl_c_during_a_load_stops_the_program(build: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(bad=failing(KeyboardInterrupt()))


def test_a_plugin_may_decline(build: Any, good: Any, capsys: Any) -> None:
    registry = build(shy=failing(MissingDependency("It needs sound.", "")), good=good)
    assert statuses(registry) == {"good": "ok", "shy": "declined"}
    assert capsys.readouterr().err == ""


def junk(make: Any) -> dict[str, tuple[Any, str]]:
    """name -> (models, weights or None), and a part of the message."""
    model, weights = make.model, make.weights
    bad_input = InputSpec(modality="image", size=(3, 32, 32), mean=(0.5,), std=(0.5,) * 3)
    cases: dict[str, tuple[Any, str]] = {
        "none": ((None,), "ModelSpec expected"),
        "dict": (({"name": "net"},), "ModelSpec expected"),
        "weights as model": ((weights("net", "t"),), "ModelSpec expected"),
        "name type": ((model(5),), "name must be str"),
        "name form": ((model("a b"),), "no name"),
        "name slash": ((model("a/b"),), "no name"),
        "empty name": ((model(""),), "no name"),
        "twice": ((model("net"), model("net")), "twice"),
        "builder": ((model("net", builder="not a reference"),), "builder"),
        "builder type": ((model("net", builder=print),), "builder must be str"),
        "requires text": ((model("net", requires="timm"),), "requires must be tuple"),
        "dim": ((model("net", dim="512"),), "dim must be int"),
        "options": ((model("net", options={"f": print}),), "options must be Mapping"),
        "default": ((model("net", default_weights="t"),), "default weights 't' do not exist"),
        "alias": ((model("net", aliases={"short": "t"}),), "do not exist"),
        "alias twice": ((model("a", aliases={"s": None}), model("b", aliases={"s": None})), "claimed by a and b"),
        "input": ((model("net", input=bad_input),), "per channel"),
        "input type": ((model("net", input={"modality": "image"}),), "input must be InputSpec"),
    }
    return cases


@pytest.mark.parametrize("case", range(18))
def test_junk_models(build: Any, good: Any, make: Any, case: int) -> None:
    name, (models, message) = list(junk(make).items())[case]
    registry = build(bad=make.plugin(make.model("fine"), *models), good=good)
    assert statuses(registry) == {"bad": "failed", "good": "ok"}, name
    assert message in error_of(registry, "bad"), name
    # Rolled back whole: nothing of it is left, not even the records that were in order.
    assert [entry.id for entry in registry.models()] == ["good/net"]
    assert [name for name, _ in registry.manager.list_name_plugin()] == ["good"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": "foreign"}, "a model the plugin has not"),
        ({"tag": "a@b"}, "no tag"),
        ({"sources": ()}, "no source"),
        ({"sources": ("ftp://x/y",)}, "is no source"),
        ({"sources": ("url:https://x/y",)}, "sha256"),
        ({"sources": ("url:http://x/y",), "sha256": "0" * 64}, "https"),
        ({"sha256": "abc"}, "no sha256"),
        ({"remap": "x"}, "remap"),
        ({"accuracy": "high"}, "accuracy must be"),
    ],
)
def test_junk_weights(build: Any, make: Any, fields: dict[str, Any], message: str) -> None:
    spec = dataclasses.replace(make.weights("net", "t"), **fields)
    registry = build(bad=make.plugin(make.model("net"), weights=[spec]))
    assert message in error_of(registry, "bad")
    assert registry.models() == []


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, None),
        (5, "not an iterable"),
        ("text", "not an iterable"),
        (itertools.repeat("x"), "more than"),
        ((1 / 0 for _ in range(1)), "ZeroDivisionError"),
    ],
)
def test_junk_results(build: Any, make: Any, returned: Any, message: str | None) -> None:
    plugin = make.plugin(make.model("net"), weights=returned)
    registry = build(bad=plugin)
    if message is None:
        # pluggy leaves a None out: a hook may have nothing to say.
        assert statuses(registry) == {"bad": "ok"}
    else:
        assert message in error_of(registry, "bad")


def test_not_plugins(build: Any, make: Any) -> None:
    class Misspelt:
        @hookimpl
        def zoo_modells(self) -> list[Any]:
            return []

    class Arguments:
        @hookimpl
        def zoo_models(self, trainer: object) -> list[Any]:
            return []

    class Wrapper:
        @hookimpl(wrapper=True)
        def zoo_models(self) -> Any:
            yield
            return []

    good = make.plugin(make.model("net"))
    registry = build(
        a=ModuleType("empty"), b=Misspelt(), c=Arguments(), d=Wrapper(), e=good, **{"no name": make.plugin()}
    )
    assert statuses(registry) == {
        "a": "failed",
        "b": "failed",
        "c": "failed",
        "d": "failed",
        "e": "ok",
        "no name": "failed",
    }
    assert "no hook" in error_of(registry, "a")
    assert "zoo_modells" in error_of(registry, "b")
    assert "trainer" in error_of(registry, "c")
    assert "wrapper" in error_of(registry, "d")
    assert [entry.id for entry in registry.models()] == ["e/net"]


def test_what_a_plugin_prints_stays_off_stdout(build: Any, good: Any, capsys: Any) -> None:
    def noisy() -> object:
        print("hello")
        return good

    assert statuses(build(noisy=noisy)) == {"noisy": "ok"}
    talk = capsys.readouterr()
    assert (talk.out, talk.err) == ("", "hello\n")


def test_a_taken_namespace_is_shadowed(make: Any, good: Any, capsys: Any) -> None:
    from zoo_registry import Candidate

    evil = make.plugin(make.model("net"), make.model("evil"))
    claims = [
        # Sorted by distribution, the built-in one first: the order of discovery does not matter.
        Candidate("vision", "aaa", lambda: evil),
        Candidate("vision", "zookit", lambda: good),
        Candidate("space", "yyy", lambda: evil),
        Candidate("space", "xxx", failing(RuntimeError())),
    ]
    for order in itertools.permutations(claims):
        registry = build_registry(list(order), autoload=False)
        found = {(record.name, record.distribution): record.status for record in registry.plugins()}
        assert found == {
            ("vision", "zookit"): "ok",
            ("vision", "aaa"): "shadowed",
            # Its owner is broken, yet the name stays its own.
            ("space", "xxx"): "failed",
            ("space", "yyy"): "shadowed",
        }
        assert [entry.id for entry in registry.models()] == ["vision/net"]
    assert "belongs to zookit" in capsys.readouterr().err


def test_lists_act_before_the_import(
    build: Any, good: Any, make: Any, monkeypatch: pytest.MonkeyPatch, private_home: Path
) -> None:
    never = failing(AssertionError("imported"))
    monkeypatch.setenv("ZOO_PLUGINS_DENY", "bad, dist-worse")
    assert statuses(build(bad=never, worse=never, good=good)) == {"bad": "blocked", "good": "ok", "worse": "blocked"}
    monkeypatch.delenv("ZOO_PLUGINS_DENY")
    monkeypatch.setenv("ZOO_PLUGINS_ALLOW", "good")
    # Built-in plugins need no leave.
    assert statuses(build(builtin=("core",), bad=never, good=good, core=make.plugin())) == {
        "core": "ok",
        "bad": "blocked",
        "good": "ok",
    }
    monkeypatch.delenv("ZOO_PLUGINS_ALLOW")
    (private_home / "config.toml").write_text('[plugins]\nallow = ["good", "bad"]\ndeny = ["bad"]\n')
    assert statuses(build(bad=never, worse=never, good=good)) == {"bad": "blocked", "good": "ok", "worse": "blocked"}


@pytest.mark.parametrize(
    "text",
    ["[plugins", "plugins = 1", '[plugins]\nallow = "x"', "[plugins]\nalow = []", "[aliases]\nx = 1", b"\xff\xfe"],
)
def test_a_wrong_configuration_file(build: Any, private_home: Path, text: str | bytes) -> None:
    path = private_home / "config.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match=r"config\.toml") as error:
        build()
    assert error.value.remedy


def test_strict_raises(build: Any, good: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_STRICT_PLUGINS", "1")
    assert statuses(build(good=good)) == {"good": "ok"}
    with pytest.raises(PluginError, match="boom"):
        build(bad=failing(RuntimeError("boom")), good=good)


def test_one_object_under_two_namespaces(build: Any, good: Any) -> None:
    registry = build(first=good, second=good)
    assert statuses(registry) == {"first": "ok", "second": "failed"}
    assert [name for name, _ in registry.manager.list_name_plugin()] == ["first"]


def test_registries_are_independent(build: Any, make: Any) -> None:
    one, two = build(a=make.plugin(make.model("x"))), build(a=make.plugin(make.model("y")))
    assert [entry.id for entry in one.models()] == ["a/x"]
    assert [entry.id for entry in two.models()] == ["a/y"]


def test_heads_and_datasets(build: Any) -> None:
    class Core:
        @hookimpl
        def zoo_heads(self) -> list[HeadSpec]:
            return [
                HeadSpec(name="linear", builder="m:f", task="classification"),
                HeadSpec(name="ctc", builder="m:f", task="transcription", modalities=("audio",)),
            ]

        @hookimpl
        def zoo_datasets(self) -> list[DatasetSpec]:
            return [DatasetSpec(name="pets", modality="image", task="classification")]

    registry = build(builtin=("core",), core=Core(), zzz=Core())
    assert [entry.id for entry in registry.heads_for("classification", "image")] == ["core/linear", "zzz/linear"]
    assert registry.heads_for("transcription", "image") == []
    assert registry.head("linear").id == "core/linear"
    assert registry.head("zzz/linear").id == "zzz/linear"
    assert registry.dataset("pets").spec.task == "classification"
    with pytest.raises(UnknownName, match=r"No data set is named 'pet'.*pets"):
        registry.dataset("pet")
    with pytest.raises(UnknownName, match="objective"):
        registry.objective("mae")


def test_no_module_of_a_failed_plugin_is_left_behind(
    build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "halfway_plugin.py").write_text("x = 1\nraise ValueError('late')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = build(half=lambda: __import__("halfway_plugin"))
    assert "late" in error_of(registry, "half")
    assert registry.plugins()[0].file == f"{tmp_path / 'halfway_plugin.py'}:2"
    assert "halfway_plugin" not in sys.modules
