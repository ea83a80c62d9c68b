"""Names with a prefix: one record stands for models too many to list, a function of the plugin's makes them out."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from zoo.weights import identify_weights
from zoo_registry.errors import PluginError, UnknownName

REFERENCE = "test_registry_prefixes_maker:derive"


@pytest.fixture
def registry(build: Any, make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Plugin ``a`` with ``many/NAME``, whose weights are a file of this test's."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "test_registry_prefixes_maker.py").write_text(
        "import dataclasses\n"
        "from zoo_registry.errors import UnknownName\n"
        "def derive(spec, rest, registry):\n"
        "    name, _, tag = rest.partition('@')\n"
        "    if not name:\n"
        "        raise UnknownName('no name', 'write one')\n"
        "    pattern, = registry.weights_of('a/any')\n"
        f"    place = 'folder:' + {str(tmp_path)!r} + '/' + name\n"
        "    made = dataclasses.replace(pattern, model=spec.prefix + name, tag=tag or 'first', sources=(place,))\n"
        "    return dataclasses.replace(spec, name=spec.prefix + name, options={'of': name}), made\n"
    )
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "model.safetensors").write_bytes(b"weights")
    plugin = make.plugin(
        make.model("any", prefix="many/", derive=REFERENCE, summary="Any of many: many/NAME.", default_weights="t"),
        make.model("one"),
        weights=[make.weights("any", "t")],
    )
    return build(a=plugin)


def test_made_out_to_one(registry: Any) -> None:
    for name in ("many/x", "a/many/x", " many/x "):
        found = registry.model(name)
        assert (found.id, found.weights.tag) == ("a/many/x", "first")
        assert (found.spec.name, found.spec.options, found.spec.prefix) == ("many/x", {"of": "x"}, "")
    assert registry.model("many/x@v2").weights.tag == "v2"
    assert registry.means("many/x") == "a/many/x"
    assert registry.model(registry.model("many/x@v2").id).id == "a/many/x"
    assert [entry.id for entry in registry.models()] == ["a/any", "a/one"]
    with pytest.raises(UnknownName, match="no name"):
        registry.model("many/")


def test_a_users_alias_may_mean_one(build: Any, registry: Any, make: Any, private_home: Path) -> None:
    (private_home / "config.toml").write_text('[aliases]\nmine = "many/x"\nold = "many/x@v1"\n')
    entry = next(entry for entry in registry.models() if entry.spec.prefix)
    weights = registry.weights_of("a/any")
    again = build(a=make.plugin(entry.spec, weights=weights))
    assert (again.model("mine").id, again.model("mine").weights.tag) == ("a/many/x", "first")
    assert again.model("old").weights.tag == "v1"
    assert again.model("old@v3").weights.tag == "v3"


def test_weights_by_tag_and_by_default(registry: Any) -> None:
    made = identify_weights("many/x", registry=registry)
    assert (made.weights_id, made.model_id) == ("a/many/x@first", "a/many/x")
    assert identify_weights("many/x", weights="v2.0", registry=registry).weights_id == "a/many/x@v2.0"
    assert identify_weights("many/x", weights="none", registry=registry).path is None
    with pytest.raises(UnknownName, match="no model by itself") as error:
        identify_weights("any", registry=registry)
    assert "many/NAME" in error.value.remedy


def test_a_prefix_needs_its_function(build: Any, make: Any) -> None:
    for wrong in ("", "no reference"):
        registry = build(a=make.plugin(make.model("any", prefix="many/", derive=wrong)))
        (record,) = registry.plugins()
        assert record.status == "failed"
        assert "derive" in (record.error or "")
    registry = build(a=make.plugin(make.model("any", prefix="many/", derive="zoo_nowhere:derive")))
    with pytest.raises(PluginError, match="zoo_nowhere"):
        registry.model("many/x")


def test_no_other_name_is_touched(registry: Any) -> None:
    assert registry.model("one").id == "a/one"
    bare = registry.model("any")
    assert bare.spec.prefix == "many/"
    assert dataclasses.replace(bare.spec, name="any") == bare.spec
    with pytest.raises(UnknownName):
        registry.model("man/x")
