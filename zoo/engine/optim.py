"""Parameter groups and optimizers. A parameter belongs to a group by its exact name, and decays by its dimension:
substrings such as "norm" or "bias" also match what they were not meant for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from zoo.engine.memory import is_out_of_memory
from zoo.protocols import LayerGroups, ParamGroup
from zoo_registry.errors import PluginError, ZooError


def layerwise_groups(groups: LayerGroups, *, weight_decay: float, layer_decay: float = 1.0) -> list[ParamGroup]:
    """Groups in the order of ``groups``, the learning rate falling by ``layer_decay`` from each to the one before it.

    The last group (the head) has ``lr_scale`` 1, the one before it ``layer_decay``, ... (ULMFiT, arXiv 1801.06146;
    BEiT, arXiv 2106.08254). Parameters of fewer than two dimensions (biases, norm scales) never decay. Frozen
    parameters and empty groups are left out.

    Raises:
        PluginError: a parameter stands in two groups.
    """
    made: list[ParamGroup] = []
    seen: dict[nn.Parameter, str] = {}
    for depth, (name, members) in enumerate(reversed(groups)):
        trainable = [(key, parameter) for key, parameter in members if parameter.requires_grad]
        for key, parameter in trainable:
            if parameter in seen:
                raise PluginError(
                    f"The parameter {key} stands in two layer groups (also as {seen[parameter]}).",
                    "The layer_groups() of this backbone must list each parameter once.",
                )
            seen[parameter] = key
        scale = layer_decay**depth
        plain = tuple((key, parameter) for key, parameter in trainable if parameter.ndim < 2)
        decayed = tuple((key, parameter) for key, parameter in trainable if parameter.ndim >= 2)
        if plain:
            made.append(ParamGroup(f"{name} (no decay)", plain, scale, 0.0))
        if decayed:
            made.append(ParamGroup(name, decayed, scale, weight_decay))
    return made[::-1]


def format_groups(groups: Sequence[ParamGroup]) -> str:
    """The groups as a table for people: name, tensors, parameters, learning-rate scale, weight decay."""
    header = ("group", "tensors", "parameters", "lr scale", "weight decay")
    rows = [
        (
            group.name,
            str(len(group.params)),
            f"{sum(parameter.numel() for _, parameter in group.params):,}",
            f"{group.lr_scale:.4g}",
            f"{group.weight_decay:g}",
        )
        for group in groups
    ]
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [header, *rows]
    )


def check_groups(task: nn.Module, groups: Mapping[str, Sequence[ParamGroup]]) -> None:
    """A trainable parameter that no group holds would silently stay as it is; one held twice would move twice.

    Raises:
        PluginError: names the parameters.
    """
    held = [name for phase in groups.values() for group in phase for name, _ in group.params]
    trainable = {name for name, parameter in task.named_parameters() if parameter.requires_grad}
    if unknown := sorted(set(held) - trainable):
        raise PluginError(
            f"Parameter groups name what the task does not train: {', '.join(unknown[:5])}.",
            "Groups must use the names of task.named_parameters() and leave out frozen parameters.",
        )
    if missing := sorted(trainable - set(held)):
        raise PluginError(
            f"No parameter group holds {len(missing)} trainable parameters, such as {', '.join(missing[:5])}.",
            "layer_groups() must list every trainable parameter; freeze what should not train.",
        )
    if len(held) != len(set(held)):
        twice = sorted({name for name in held if held.count(name) > 1})
        raise PluginError(
            f"These parameters stand in two groups: {', '.join(twice[:5])}.", "Each parameter must be listed once."
        )


def make_optimizer(
    kind: str,
    groups: Sequence[ParamGroup],
    parameters: Mapping[str, nn.Parameter],
    device: torch.device,
    beta1: float = 0.9,
) -> torch.optim.Optimizer:
    """AdamW or SGD over ``groups``, whose members are looked up by name in ``parameters``: wrapping a task for several
    devices may have replaced the objects.

    The rates are set each step from the schedule times ``group["lr_scale"]``.
    """
    # One kernel for all parameters; on the CPU about four times faster than the loop. A 0 rate fails loudly if unset.
    fused = device.type in {"cpu", "cuda", "mps"}
    options = [
        {
            "params": [parameters[name] for name, _ in group.params],
            "names": [name for name, _ in group.params],
            "lr_scale": group.lr_scale,
            "weight_decay": group.weight_decay,
        }
        for group in groups
    ]
    if kind == "sgd":
        return torch.optim.SGD(options, lr=0.0, momentum=beta1, nesterov=beta1 > 0, fused=fused)
    return torch.optim.AdamW(options, lr=0.0, betas=(beta1, 0.999), fused=fused)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Optimizer state keyed ``parameter name/state key``, so that it survives a change of order."""
    return {
        f"{name}/{key}": value
        for group in optimizer.param_groups
        for name, parameter in zip(group["names"], group["params"], strict=True)
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what :func:`optimizer_tensors` gave. Tensors shaped like their parameter must also be laid out like it
    (see :func:`zoo.engine.checkpoint.like`): the fused kernels read memory in storage order."""
    by_name: dict[str, dict[str, Tensor]] = {}
    for path, tensor in tensors.items():
        name, key = path.rsplit("/", 1)
        by_name.setdefault(name, {})[key] = tensor
    packed = optimizer.state_dict()
    order = [name for group in optimizer.param_groups for name in group["names"]]
    packed["state"] = {index: by_name[name] for index, name in enumerate(order) if name in by_name}
    optimizer.load_state_dict(packed)


def clip_gradients(parameters: Sequence[nn.Parameter], scale: Tensor, clip_norm: float | None) -> Tensor:
    """Multiply the gradients by ``scale``, then clip their joint norm, in one pass over them.

    Returns:
        The norm after scaling and before clipping, a scalar on the device.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return torch.zeros_like(scale)
    norm = torch.nn.utils.get_total_norm(gradients)
    if hasattr(norm, "full_tensor"):  # sharded parameters: each process holds a part of the norm
        norm = norm.full_tensor()
    norm = norm * scale
    factor = scale if clip_norm is None else scale * (clip_norm / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(gradients, factor)
    return norm


def step_optimizer(scaler: torch.amp.GradScaler, optimizer: torch.optim.Optimizer) -> None:
    """Step, unless fp16 overflowed. An optimizer cut short by lack of memory cannot be run again, only reported."""
    try:
        scaler.step(optimizer)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise ZooError(
            "Memory ran out in the optimizer.", "Choose a smaller --micro-batch or --optimizer sgd."
        ) from None
    scaler.update()
