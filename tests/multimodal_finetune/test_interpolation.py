"""The arithmetic of mixing two states."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from zoo.interpolation import interpolate
from zoo_registry.errors import UsageError


def states(seed: int = 0) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Of a network with batch normalisation, before and after a step of training."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    start = {name: value.clone() for name, value in network.state_dict().items()}
    network(torch.randn(8, 3)).square().sum().backward()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.sub_(0.1 * torch.randn_like(parameter))
    return start, network.state_dict()


@given(alpha=st.floats(0, 1))
def test_every_value_is_the_weighted_mean(alpha):
    start, tuned = states()
    mixed = interpolate(start, tuned, alpha)
    assert list(mixed) == list(tuned)
    for name, value in mixed.items():
        if value.is_floating_point():
            wanted = (1 - alpha) * start[name].double() + alpha * tuned[name].double()
            assert torch.allclose(value.double(), wanted, rtol=1e-5, atol=1e-7)
        assert value.dtype == tuned[name].dtype


def test_the_ends_are_exact_and_statistics_are_mixed():
    start, tuned = states()
    none, half, all_ = (interpolate(start, tuned, alpha) for alpha in (0.0, 0.5, 1.0))
    for name in (name for name in tuned if name != "1.num_batches_tracked"):
        assert torch.equal(none[name], start[name])
        assert torch.equal(all_[name], tuned[name])
        assert not torch.equal(half[name], start[name]), name
    assert torch.allclose(half["1.running_mean"], (start["1.running_mean"] + tuned["1.running_mean"]) / 2)
    # A count of batches cannot be one half.
    assert start["1.num_batches_tracked"] == 0
    assert [int(one["1.num_batches_tracked"]) for one in (none, half, all_)] == [1, 1, 1]


@given(alpha=st.floats(0, 1), value=st.floats(-1e6, 1e6, width=32))
def test_what_is_equal_stays_as_it_is(alpha, value):
    state = {"x": torch.tensor([value])}
    assert torch.equal(interpolate(state, {"x": state["x"].clone()}, alpha)["x"], state["x"])


def test_half_precision_is_mixed_in_float32_and_nothing_is_changed():
    start = {"x": torch.full((3,), 1.0, dtype=torch.float16)}
    tuned = {"x": torch.full((3,), 60_000.0, dtype=torch.float16)}
    mixed = interpolate(start, tuned, 0.5)["x"]
    assert mixed.dtype == torch.float16
    assert torch.equal(mixed, torch.full((3,), 30_000.5).half())
    assert (start["x"][0], tuned["x"][0]) == (1.0, 60_000.0)
    whole = interpolate(start, tuned, 1.0)["x"]
    assert whole.data_ptr() != tuned["x"].data_ptr()


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_shares_outside_0_and_1_are_refused(alpha):
    with pytest.raises(UsageError, match="0 to 1"):
        interpolate({}, {}, alpha)


def test_states_of_two_networks_are_refused():
    start, tuned = states()
    with pytest.raises(UsageError, match="1 tensors differ, such as extra"):
        interpolate(start, {**tuned, "extra": torch.ones(1)}, 0.5)
    with pytest.raises(UsageError, match=r"such as 0\.weight"):
        interpolate({**start, "0.weight": torch.ones(2)}, tuned, 0.5)
