"""How a head that begins with more than random numbers is trained."""

from __future__ import annotations

import pytest

from zoo.config import FinetuneConfig, make_config
from zoo.strategies import STRATEGIES, Facts, Train, resolved


def facts(**values: object) -> Facts:
    return Facts(**{"samples": 900, "pretrained": True, "groups": 14, "begun": True, **values})  # type: ignore[arg-type]


def config(**values: object) -> FinetuneConfig:
    return make_config(FinetuneConfig, {"model": "m", "data": "d", **values})


@pytest.mark.parametrize(("dim", "lr"), [(512, 9.8e-6), (1024, 4.9e-6)])
def test_it_is_gentle_and_measured_first(dim, lr):
    (stage,) = STRATEGIES["full"](config(), facts(dim=dim))
    assert isinstance(stage, Train)
    assert stage.lr == pytest.approx(lr)
    assert stage.ready
    assert stage.epochs <= 10
    lowest = stage.lr * stage.layer_decay**13
    assert lowest == pytest.approx(0.3 * stage.lr, rel=0.01)
    (usual,) = STRATEGIES["full"](config(), facts(dim=dim, begun=False))
    assert not usual.ready
    assert stage.lr < usual.lr / 10


def test_lp_ft_measures_what_the_probe_found():
    probe, gently = STRATEGIES["lp-ft"](config(), facts(dim=512, begun=False))
    assert gently.ready
    assert not hasattr(probe, "ready")


@pytest.mark.parametrize("name", ["full", "lp-ft"])
def test_a_resolved_plan_resolves_to_itself(name):
    stages = STRATEGIES[name](config(strategy=name), facts(dim=512))
    again = config(strategy=name).model_copy(update=resolved(stages))
    assert STRATEGIES[name](again, facts(dim=512)) == stages
