"""Layers of open_clip's towers, from the input to the output."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from timm.models import group_parameters
from torch import nn

from zoo.protocols import LayerGroups

EMBEDDINGS, FINAL = -1, 1 << 30  # places of the groups before and behind the layers

_OUTPUT_SIDE = frozenset(
    ("ln_post", "proj", "attn_pool", "attn_pool_contrastive", "attnpool", "head", "ln_final", "text_projection")
    + ("pooler", "final_layer_norm", "layer_norm")
)
"""Names, at the top of a tower or of the transformers network in it, of what stands behind the layers."""


def tower_groups(module: nn.Module) -> LayerGroups:
    """``embeddings``, ``layer.0``, ``layer.1``, ... and ``final`` (norm, pooling, projection) of a tower's module, with
    the names of its ``named_parameters()``. What does not learn stands in no group."""
    named = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    places = _timm_places(module) if hasattr(module, "trunk") else _places(module)
    groups: dict[int, list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in named:
        groups.setdefault(places[name], []).append((name, parameter))
    layers = [place for place in sorted(groups) if place not in (EMBEDDINGS, FINAL)]
    titles = {EMBEDDINGS: "embeddings", FINAL: "final"} | {place: f"layer.{i}" for i, place in enumerate(layers)}
    return [(titles[place], groups[place]) for place in sorted(groups)]


def renamed(groups: LayerGroups, prefix: str, root: nn.Module) -> LayerGroups:
    """The groups under titles that begin with ``prefix`` and the names their parameters have in ``root``."""
    names = {id(parameter): name for name, parameter in root.named_parameters()}
    return [(f"{prefix}{title}", [(names[id(p)], p) for _, p in members]) for title, members in groups]


def _places(module: nn.Module) -> dict[str, int]:
    """Of open_clip's own networks and transformers': where in the order each parameter stands."""
    starts: dict[str, int] = {}
    count = 0
    for stack, length in _stacks(module):
        starts[stack] = count
        count += length
    places = {}
    for name, _ in module.named_parameters():
        found = next((stack for stack in starts if name.startswith(f"{stack}.")), None)
        if found is not None:
            places[name] = starts[found] + int(name.removeprefix(f"{found}.").partition(".")[0])
        else:
            top = name.removeprefix("transformer.").partition(".")[0]
            places[name] = FINAL if top in _OUTPUT_SIDE else EMBEDDINGS
    return places


def _stacks(module: nn.Module) -> list[tuple[str, int]]:
    """(name, length) of the lists of layers: a ResNet's four stages, else the list with most of the parameters."""
    if hasattr(module, "layer4"):
        return [(f"layer{i}", len(getattr(module, f"layer{i}"))) for i in (1, 2, 3, 4)]
    lists = {name: child for name, child in module.named_modules() if isinstance(child, nn.ModuleList)}
    # The first of several of one size is the outermost.
    largest = max(lists, key=lambda name: _size(lists[name].parameters()))
    return [(largest, len(lists[largest]))]


def _timm_places(module: Any) -> dict[str, int]:
    """Of a timm network and open_clip's head on it: timm's own order, the one its layer-wise decay uses."""
    order = group_parameters(module.trunk, module.trunk.group_matcher(coarse=False), reverse=True)
    last = max(order.values())
    named = dict(module.trunk.named_parameters())
    # timm puts all that belongs to its classifier at the end, where the head of the pair stands as well.
    places = {f"trunk.{name}": FINAL if order[name] == last else order[name] for name in named}
    first = min(places.values())
    places = {name: EMBEDDINGS if place == first else place for name, place in places.items()}
    return places | {f"head.{name}": FINAL for name, _ in module.head.named_parameters()}


def _size(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)
