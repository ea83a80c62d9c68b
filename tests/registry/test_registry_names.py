"""What a name means, and what is said when it means nothing."""

from __future__ import annotations

import difflib
import random
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo_registry.errors import AmbiguousName, MissingDependency, PluginError, UnknownName
from zoo_registry.names import Name, near, parse


@pytest.fixture
def registry(build: Any, make: Any) -> Any:
    vision = make.plugin(
        make.model("resnet50", default_weights="a1"),
        make.model("lite"),
        make.model("tf_lite", default_weights="in1k", aliases={"lite": "starter"}),
        weights=[
            make.weights("resnet50", "a1"),
            make.weights("resnet50", "tv"),
            make.weights("tf_lite", "in1k"),
            make.weights("tf_lite", "starter"),
        ],
    )
    other = make.plugin(
        make.model("resnet50"),
        make.model("onlyhere"),
        make.model("shared"),
        make.model("aliased", aliases={"tf_lite": None}),
    )
    third = make.plugin(make.model("shared"))
    return build(builtin=("vision",), vision=vision, other=other, third=third)


@pytest.mark.parametrize(
    ("name", "model", "tag"),
    [
        ("resnet50", "vision/resnet50", "a1"),
        ("resnet50@tv", "vision/resnet50", "tv"),
        ("vision/resnet50@tv", "vision/resnet50", "tv"),
        ("other/resnet50", "other/resnet50", None),
        ("onlyhere", "other/onlyhere", None),
        # A built-in alias beats the built-in network of that very name, which stays reachable in full.
        ("lite", "vision/tf_lite", "starter"),
        ("lite@in1k", "vision/tf_lite", "in1k"),
        ("vision/lite", "vision/lite", None),
        # A third party's alias never takes a built-in name.
        ("tf_lite", "vision/tf_lite", "in1k"),
        ("other/tf_lite", "other/aliased", None),
        ("third/shared", "third/shared", None),
    ],
)
def test_meaning(registry: Any, name: str, model: str, tag: str | None) -> None:
    found = registry.model(name)
    assert found.id == model
    assert (found.weights.tag if found.weights else None) == tag
    assert found.spec.name == model.partition("/")[2]


def test_notes_tell_of_the_other_meaning(registry: Any) -> None:
    assert registry.model("lite").note == (
        "'lite' means vision/tf_lite@starter; the network of that very name is vision/lite."
    )
    assert "vision/tf_lite" in registry.model("vision/lite").note
    assert registry.model("resnet50").note == ""


def test_ambiguous_names_list_the_candidates(registry: Any) -> None:
    with pytest.raises(AmbiguousName, match="other/shared, third/shared") as error:
        registry.model("shared")
    assert error.value.exit_code == 3


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet-50", "Did you mean resnet50"),
        ("ResNet50", "Did you mean resnet50"),
        ("resnet5", "Did you mean resnet50"),
        ("vision/resnet5", "Did you mean resnet50"),
        ("resnet50.a1", "resnet50@a1"),
        ("zzz", "zoo list"),
        ("nowhere/resnet50", "plugins with models are: other, third, vision"),
        ("resnet50@a2", "It has a1, tv"),
        ("onlyhere@a2", "no pretrained weights"),
        ("lite@a2", "vision/lite"),
    ],
)
def test_unknown_names_say_what_to_do(registry: Any, name: str, expected: str) -> None:
    with pytest.raises(UnknownName) as error:
        registry.model(name)
    assert expected in error.value.remedy


def test_installing_a_plugin_changes_no_meaning(build: Any, make: Any) -> None:
    vision = make.plugin(make.model("net", aliases={"short": None}), make.model("other"))
    greedy = make.plugin(
        make.model("net"),
        make.model("short"),
        make.model("other"),
        make.model("x", aliases={"net2": None, "NET": None}),
    )
    before = build(builtin=("vision",), vision=vision)
    after = build(builtin=("vision",), vision=vision, aaa=greedy)
    for name in ("net", "short", "other", "vision/net", "vision/short"):
        assert after.model(name).id == before.model(name).id


def test_two_third_parties_never_decide_silently(build: Any, make: Any) -> None:
    registry = build(a=make.plugin(make.model("x", aliases={"net": None})), b=make.plugin(make.model("net")))
    with pytest.raises(AmbiguousName, match="a/x, b/net"):
        registry.model("net")


def test_user_aliases_come_first(build: Any, make: Any, private_home: Path) -> None:
    (private_home / "config.toml").write_text(
        '[aliases]\nnet = "b/net@t"\nmine = "net"\nlost = "gone"\npinned = "pinned@v"\n'
    )
    registry = build(
        builtin=("a",),
        a=make.plugin(make.model("net"), make.model("pinned"), weights=[make.weights("pinned", "v")]),
        b=make.plugin(make.model("net"), weights=[make.weights("net", "t"), make.weights("net", "u")]),
    )
    assert registry.model("net").id == "b/net"
    assert registry.model("net").weights.tag == "t"
    assert registry.model("net@u").weights.tag == "u"
    assert "your alias" in registry.model("net").note
    assert registry.model("a/net").id == "a/net"
    # Aliases do not go through each other: `mine` means what `net` means without the user's file.
    assert registry.model("mine").id == "a/net"
    assert registry.model("pinned").weights.tag == "v"
    with pytest.raises(UnknownName, match="Your alias 'lost' means 'gone'"):
        registry.model("lost")


def test_a_name_of_a_plugin_that_did_not_load_says_so(build: Any, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> object:
        raise RuntimeError("boom")

    def declining() -> object:
        raise MissingDependency("It needs torchaudio.", "")

    monkeypatch.setenv("ZOO_PLUGINS_DENY", "denied")
    registry = build(bad=broken, shy=declining, denied=make.plugin(make.model("net")))
    with pytest.raises(PluginError, match="boom") as error:
        registry.model("bad/net")
    assert error.value.exit_code == 4
    with pytest.raises(PluginError, match="deny list"):
        registry.model("denied/net")
    with pytest.raises(MissingDependency, match="torchaudio"):
        registry.model("shy/net")


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", fullmatch=True))
def test_parse_takes_apart_what_was_put_together(bare: str) -> None:
    assert parse(bare) == Name("", bare, "")
    assert parse(f"space/{bare}@tag.v1") == Name("space", bare, "tag.v1")


def test_near_finds_what_a_full_search_finds_and_is_quick() -> None:
    draw = random.Random(0)
    known = [
        f"{a}_{b}_{n}" for a in ("resnet", "vit", "convnext", "swin", "regnet") for b in "abcdefghij" for n in range(60)
    ]
    wrong = []
    for name in draw.sample(known, 20):
        place = draw.randrange(len(name))
        wrong.append((name, name[:place] + name[place + 1 :]))
    start = time.perf_counter()
    found = [near(misspelt, known, 5) for _, misspelt in wrong]
    assert (time.perf_counter() - start) / len(wrong) < 0.2
    for (_, misspelt), names in zip(wrong, found, strict=True):
        slow = max(difflib.SequenceMatcher(None, misspelt, other).ratio() for other in known)
        assert max(difflib.SequenceMatcher(None, misspelt, other).ratio() for other in names) >= slow - 0.08
    assert near("qqqq", known) == []
