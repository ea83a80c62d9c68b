"""Strategies are pure functions from facts to stages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.config import FinetuneConfig, make_config
from zoo.strategies import STRATEGIES, Facts, Probe, Train, choose, default_batch_size, resolved
from zoo_registry.errors import UnknownName, UsageError


def config(**values):
    return make_config(FinetuneConfig, {"model": "m", "data": "d", **values})


@given(
    samples=st.integers(1, 10**7),
    groups=st.integers(1, 200),
    pretrained=st.booleans(),
    name=st.sampled_from(list(STRATEGIES)),
)
def test_every_plan_is_runnable(samples, groups, pretrained, name):
    for stage in STRATEGIES[name](config(), Facts(samples=samples, pretrained=pretrained, groups=groups)):
        assert stage.epochs > 0
        assert stage.batch_size >= 1
        if isinstance(stage, Train):
            assert 0 < stage.layer_decay <= 1
            lowest = stage.lr * stage.layer_decay ** (groups - 1)
            assert lowest >= 0.05 * stage.lr, "no layer may be frozen by decay alone, however deep the network"


@given(
    samples=st.integers(1, 10**6),
    name=st.sampled_from(list(STRATEGIES)),
    batch_size=st.none() | st.integers(1, 512),
    epochs=st.none() | st.floats(0.5, 50),
)
def test_a_resolved_plan_resolves_to_itself(samples, name, batch_size, epochs):
    """A run writes its resolved settings; resuming and repeating plan from those."""
    facts = Facts(samples=samples, pretrained=True, groups=9)
    asked = config(strategy=name, batch_size=batch_size, epochs=epochs)
    stages = STRATEGIES[name](asked, facts)
    assert STRATEGIES[name](asked.model_copy(update=resolved(stages)), facts) == stages


@given(samples=st.integers(1, 10**7))
def test_batch_size_follows_data(samples):
    size = default_batch_size(samples)
    assert 8 <= size <= 64
    assert size & (size - 1) == 0
    assert size <= default_batch_size(samples * 2)


def test_lp_ft_is_the_head_then_everything():
    stages = STRATEGIES["lp-ft"](config(epochs=7, head_epochs=3), Facts(samples=900, pretrained=True, groups=10))
    assert [type(s) for s in stages] == [Probe, Train]
    assert stages[0].epochs == 3
    assert stages[1].epochs == 7
    assert stages[1].batchnorm == "frozen"


def test_random_weights_train_batchnorm_and_every_layer_alike():
    (stage,) = STRATEGIES["full"](config(), Facts(samples=900, pretrained=False, groups=10))
    assert stage.batchnorm == "train"
    assert stage.layer_decay == 1.0


def test_flags_win_over_the_plan():
    facts = Facts(samples=900, pretrained=True, groups=10)
    (stage,) = STRATEGIES["full"](config(lr=0.5, batch_size=3, layer_decay=0.5, batchnorm="train"), facts)
    assert (stage.lr, stage.batch_size, stage.layer_decay, stage.batchnorm) == (0.5, 3, 0.5, "train")


def test_choice_of_a_strategy():
    assert choose(None, pretrained=True) == "lp-ft"
    assert choose(None, pretrained=False) == "full"
    assert choose("head", pretrained=False) == "head"
    with pytest.raises(UnknownName, match="lp-ft"):
        choose("lpft", pretrained=True)


def test_unknown_and_impossible_settings_are_named():
    with pytest.raises(UsageError, match="learning_rate"):
        config(learning_rate=1.0)
    with pytest.raises(UsageError, match="val_fraction"):
        config(val_fraction=1.5)
    with pytest.raises(UsageError, match="precision"):
        config(precision="fp8")
