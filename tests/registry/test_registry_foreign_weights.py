"""Weights of another plugin's model: one more tag, and nothing that meant something before means anything else."""

from __future__ import annotations

from typing import Any

import pytest


def test_they_add_a_tag(build: Any, make: Any) -> None:
    base = make.plugin(make.model("net", default_weights="a"), weights=[make.weights("net", "a")])
    registry = build(acme=make.plugin(weights=[make.weights("vision/net", "acme")]), vision=base, builtin=("vision",))
    assert registry.model("net@acme").weights.tag == "acme"
    assert registry.model("net").weights.tag == "a"
    assert [weights.tag for weights in registry.weights_of("vision/net")] == ["a", "acme"]
    (entry,) = [entry for entry in registry.weights() if entry.namespace == "acme"]
    assert (entry.id, entry.plugin.distribution) == ("vision/net@acme", "dist-acme")


@pytest.mark.parametrize(
    ("model", "tag", "why"),
    [("vision/net", "a", "that tag is taken"), ("vision/other", "acme", "no plugin provides vision/other")],
)
def test_they_take_no_place(
    build: Any, make: Any, capsys: pytest.CaptureFixture[str], model: str, tag: str, why: str
) -> None:
    mine = make.weights("net", "a", license="mine")
    base = make.plugin(make.model("net", default_weights="a"), weights=[mine])
    registry = build(acme=make.plugin(weights=[make.weights(model, tag, license="theirs")]), vision=base)
    assert why in capsys.readouterr().err
    assert [entry.spec for entry in registry.weights()] == [mine]
    assert {record.name: record.status for record in registry.plugins()} == {"acme": "ok", "vision": "ok"}


@pytest.mark.parametrize("model", ["vision/", "/net", "vision/a/b", "vision/a b"])
def test_a_full_name_is_well_formed(build: Any, make: Any, model: str) -> None:
    registry = build(acme=make.plugin(weights=[make.weights(model, "acme")]))
    (record,) = registry.plugins()
    assert record.status == "failed"
    assert "no full name" in record.error
