from __future__ import annotations

import pytest
import torch
from torch import nn

from zoo.engine.optim import (
    check_groups,
    clip_gradients,
    format_groups,
    layerwise_groups,
    make_optimizer,
    optimizer_tensors,
    restore_optimizer,
)
from zoo.protocols import LayerGroups
from zoo_registry.errors import PluginError


def net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(4, 4), nn.Linear(4, 2))


def groups_of(module: nn.Module) -> LayerGroups:
    named = list(module.named_parameters())
    return [("stem", named[:4]), ("block", named[4:6]), ("head", named[6:])]


def test_layerwise_table() -> None:
    groups = layerwise_groups(groups_of(net()), weight_decay=0.1, layer_decay=0.5)
    table = [(g.name, g.lr_scale, g.weight_decay, [name for name, _ in g.params]) for g in groups]
    assert table == [
        ("stem", 0.25, 0.1, ["0.weight"]),
        ("stem (no decay)", 0.25, 0.0, ["0.bias", "1.weight", "1.bias"]),
        ("block", 0.5, 0.1, ["2.weight"]),
        ("block (no decay)", 0.5, 0.0, ["2.bias"]),
        ("head", 1.0, 0.1, ["3.weight"]),
        ("head (no decay)", 1.0, 0.0, ["3.bias"]),
    ]
    printed = format_groups(groups)
    assert printed.splitlines()[0].split() == ["group", "tensors", "parameters", "lr", "scale", "weight", "decay"]
    assert "stem (no decay)" in printed
    assert len(printed.splitlines()) == 7


def test_frozen_parameters_and_empty_groups_are_left_out() -> None:
    module = net()
    for parameter in module[0].parameters():
        parameter.requires_grad_(False)
    groups = layerwise_groups([("none", []), *groups_of(module)], weight_decay=0.1, layer_decay=0.5)
    assert [name for group in groups for name, _ in group.params][:2] == ["1.weight", "1.bias"]
    assert "none" not in {group.name for group in groups}
    check_groups(module, {"main": groups})


def test_a_parameter_must_stand_in_one_group() -> None:
    module = net()
    groups = groups_of(module)
    with pytest.raises(PluginError, match="two layer groups"):
        layerwise_groups([*groups, groups[0]], weight_decay=0.1)
    full = layerwise_groups(groups, weight_decay=0.1)
    with pytest.raises(PluginError, match=r"such as 3\.bias"):
        check_groups(module, {"main": full[:-1]})
    with pytest.raises(PluginError, match="two groups"):
        check_groups(module, {"main": full, "other": full[:1]})
    with pytest.raises(PluginError, match="does not train"):
        check_groups(nn.Linear(1, 1), {"main": full})


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_fused_equals_a_plain_loop_and_survives_saving(kind: str, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    module, reference = net().to(memory_format=layout), net()
    reference.load_state_dict(module.state_dict())
    groups = layerwise_groups(groups_of(module), weight_decay=0.1)
    named = dict(module.named_parameters())
    optimizer = make_optimizer(kind, groups, named, torch.device("cpu"))
    slow_groups = [
        {"params": [dict(reference.named_parameters())[name] for name, _ in g.params], "weight_decay": g.weight_decay}
        for g in groups
    ]
    slow = (
        torch.optim.AdamW(slow_groups, lr=0.1, foreach=False, fused=False)
        if kind == "adamw"
        else torch.optim.SGD(slow_groups, lr=0.1, momentum=0.9, nesterov=True, foreach=False, fused=False)
    )
    for step in range(4):
        for (_, one), (_, two) in zip(module.named_parameters(), reference.named_parameters(), strict=True):
            gradient = torch.randn(one.shape)
            one.grad = torch.empty_like(one).copy_(gradient)
            two.grad = gradient
        if step == 2:  # a fresh optimizer takes the state over
            saved = {
                key: torch.empty_like(named[key.rsplit("/", 1)[0]]).copy_(value) if value.ndim else value.clone()
                for key, value in optimizer_tensors(optimizer).items()
            }
            optimizer = make_optimizer(kind, groups, named, torch.device("cpu"))
            restore_optimizer(optimizer, saved)
        for group in optimizer.param_groups:
            group["lr"] = 0.1
        optimizer.step()
        slow.step()
    for one, two in zip(module.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


def test_clip_scales_then_clips() -> None:
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))]
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    norm = clip_gradients(parameters, torch.tensor(2.0), 1.0)
    assert norm == pytest.approx(10.0)
    assert parameters[0].grad.tolist() == pytest.approx([0.6, 0.0], rel=1e-4)
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    clip_gradients(parameters, torch.tensor(2.0), None)
    assert parameters[1].grad.tolist() == [8.0]
    assert parameters[2].grad is None
