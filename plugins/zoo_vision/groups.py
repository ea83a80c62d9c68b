"""Ordered, named layer groups: what layer-wise learning rates and gradual unfreezing are built on."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from zoo.protocols import LayerGroups
from zoo_registry.errors import PluginError


def named_groups(places: Sequence[tuple[str, nn.Parameter, int]]) -> LayerGroups:
    """Groups from (parameter name, parameter, position of its layer), input first, each named after what its
    parameters have in common."""
    members: dict[int, list[tuple[str, nn.Parameter]]] = {}
    for name, parameter, place in places:
        members.setdefault(place, []).append((name, parameter))
    groups: LayerGroups = []
    taken: set[str] = set()
    for place in sorted(members):
        title = _title([name for name, _ in members[place]])
        if title in taken:
            title = f"{title}#{place}"
        taken.add(title)
        groups.append((title, members[place]))
    if not groups:
        raise PluginError("The backbone has no parameters to train.", "Choose another model.")
    return groups


def _title(names: Sequence[str]) -> str:
    """The longest dotted prefix all names share, below the wrapper's ``module.``; else their first components."""
    paths = [name.removeprefix("module.").split(".")[:-1] or [name.removeprefix("module.")] for name in names]
    shared = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    if shared:
        return ".".join(shared)
    firsts = list(dict.fromkeys(path[0] for path in paths))
    return "+".join(firsts[:3]) + ("+..." if len(firsts) > 3 else "")


def ordered_children(module: nn.Module) -> dict[str, int]:
    """Position of every parameter by the order in which the module registers its children; containers of layers
    (``Sequential``, ``ModuleList``) count as their members, and so do members that hold nothing but such containers.

    Parameters of the module itself (class tokens, position embeddings) belong to the input: position 0.
    """
    places: dict[str, int] = {name: 0 for name, _ in module.named_parameters(recurse=False)}
    count = 0

    def walk(parent: nn.Module, prefix: str, depth: int) -> None:
        nonlocal count
        for name, child in parent.named_children():
            path = f"{prefix}{name}"
            parameters = [key for key, _ in child.named_parameters()]
            if not parameters:
                continue
            if _holds_layers(child) and depth < 3:
                walk(child, f"{path}.", depth + 1)
                for key, _ in child.named_parameters(recurse=False):
                    places.setdefault(f"{path}.{key}", count - 1)
                continue
            for key in parameters:
                places.setdefault(f"{path}.{key}", count)
            count += 1

    walk(module, "", 0)
    # A parameter registered twice is listed under its first name only.
    return {name: places[name] for name, _ in module.named_parameters()}


def _holds_layers(module: nn.Module) -> bool:
    """True for containers, and for stages: modules whose parameters lie mostly in a container of blocks."""
    if isinstance(module, nn.Sequential | nn.ModuleList):
        return True
    total = sum(p.numel() for p in module.parameters())
    inner = sum(
        p.numel()
        for child in module.children()
        if isinstance(child, nn.Sequential | nn.ModuleList) and len(child) > 1
        for p in child.parameters()
    )
    return inner * 2 > total
