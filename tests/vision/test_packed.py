"""Weights of eight bits: small, close, and everything else untouched."""

from __future__ import annotations

import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from zoo_vision.packed import SCALE, pack, unpack


def test_a_network_survives_within_half_a_step(tmp_path):
    torch.manual_seed(0)
    state = timm.create_model("test_resnet", num_classes=0).state_dict()
    save_file(pack(state), tmp_path / "packed.safetensors")
    save_file(state, tmp_path / "plain.safetensors")
    assert (tmp_path / "packed.safetensors").stat().st_size < 0.35 * (tmp_path / "plain.safetensors").stat().st_size
    back = unpack(load_file(tmp_path / "packed.safetensors"))
    assert back.keys() == state.keys()
    for name, tensor in state.items():
        assert back[name].shape == tensor.shape
        assert back[name].dtype == tensor.dtype
        if tensor.ndim < 2:
            assert torch.equal(back[name], tensor)
            continue
        for row, wanted in zip(back[name], tensor, strict=True):
            assert float((row - wanted).abs().max()) <= float(wanted.abs().max()) / 254 * 1.001


@given(st.integers(1, 5), st.integers(1, 6), st.floats(0, 1e4), st.integers(0, 99))
def test_any_matrix(rows, columns, size, seed):
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * size
    packed = pack({"weight": weight, "count": torch.tensor(3)})
    assert packed["weight"].dtype == torch.int8
    assert packed[f"weight{SCALE}"].shape == (rows,)
    back = unpack(packed)
    assert torch.equal(back["count"], torch.tensor(3))
    assert ((back["weight"] - weight).abs() <= weight.abs().amax(1, keepdim=True) / 254 * 1.001 + 1e-30).all()


def test_what_is_not_packed_comes_back_as_it_is():
    state = {"weight": torch.randn(3, 4), "bias": torch.randn(3)}
    assert all(torch.equal(unpack(state)[name], tensor) for name, tensor in state.items())
