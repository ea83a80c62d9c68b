"""One tower learns, the other stays as it is (LiT: Zhai et al. 2022, "Zero-shot transfer with locked-image text
tuning", arXiv:2111.07991)."""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from zoo.protocols import DualEncoder
from zoo_registry.errors import UsageError


def lock_tower(backbone: DualEncoder, modality: str) -> None:
    """Freeze a tower for good: its parameters take no gradient and its modules stay in evaluation mode, so that batch
    normalisation keeps its statistics and dropout rests, also after ``train()``. Call it before an optimizer is made.

    Args:
        backbone: any pair of towers; its ``layer_groups()`` leaves out what takes no gradient.
        modality: one of ``backbone.modalities``.

    Raises:
        UsageError: it has no such tower.
    """
    if modality not in backbone.modalities:
        raise UsageError(
            f"There is no tower of modality {modality!r} to lock.", f"Give {' or '.join(backbone.modalities)}."
        )
    tower = cast(nn.Module, backbone.towers[modality])
    tower.requires_grad_(False)
    for module in tower.modules():
        # A hook goes where the module goes (copies, wrappers), unlike a replaced method.
        module.register_forward_pre_hook(_rest)
        module.train(False)


def _rest(module: nn.Module, inputs: Any) -> None:
    module.training = False
