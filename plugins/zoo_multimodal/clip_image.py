"""open_clip's image towers as backbones. B batch, W width of a tower, D width of the space it shares with texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo.protocols import Batch, Features, LayerGroups
from zoo_multimodal.clip_groups import renamed, tower_groups
from zoo_registry.errors import UsageError
from zoo_registry.specs import InputSpec, ModelSpec


class ImageTower(nn.Module):
    """An image tower behind :class:`zoo.protocols.Backbone`.

    Args:
        module: open_clip's ``VisionTransformer``, ``ModifiedResNet`` or ``TimmModel``.
        spec, input: the record and the input contract it was built for.
        dim: D.
    """

    def __init__(self, module: nn.Module, spec: ModelSpec, input: InputSpec, dim: int) -> None:
        super().__init__()
        self.module: Any = module
        self.spec, self.input, self.dim = spec, input, dim

    def forward(self, batch: Batch, layouts: Sequence[str] = ("pooled",)) -> Features:
        """``batch["image"]`` (B, C, H, W), normalised -> Features, ``pooled`` (B, D) projected and not yet of length 1.

        ``"tokens"`` or ``"grid"`` fill the last map behind its norm, (B, H'*W', W), without class token (of CoCa: what
        its captioner reads, which has no grid); ``"layers"`` every block's or stage's map, flattened alike.

        Raises:
            UsageError: ``"layers"`` of an architecture without intermediate features.
        """
        image = batch["image"]
        out = self.module(image)
        pooled, own = out if isinstance(out, tuple) else (out, None)
        tokens: Tensor | None = None
        grid: tuple[int, ...] | None = None
        if own is not None:
            tokens = own if "tokens" in layouts else None
        elif "tokens" in layouts or "grid" in layouts:
            (last,) = self._maps(image, indices=1, norm=True)
            tokens, grid = _flatten(last), (last.shape[2], last.shape[3])
        layers = tuple(_flatten(m) for m in self._maps(image)) if "layers" in layouts else None
        return Features(pooled=pooled, tokens=tokens, grid=grid, layers=layers)

    def layer_groups(self) -> LayerGroups:
        """``embeddings``, ``layer.0``, ..., ``final``: see :func:`zoo_multimodal.clip_groups.tower_groups`."""
        return renamed(tower_groups(self.module), "", self)

    def example_inputs(self, batch_size: int = 2) -> Batch:
        """``{"image": (batch_size, C, H, W)}`` zeros."""
        return {"image": torch.zeros(batch_size, *self.input.size)}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade compute for memory: activations of blocks are recomputed in the backward pass; of networks without
        blocks nothing changes."""
        self.module.set_grad_checkpointing(enable)

    def _maps(self, image: Tensor, indices: int | None = None, norm: bool = False) -> list[Tensor]:
        try:
            out = self.module.forward_intermediates(
                image, indices=indices, normalize_intermediates=norm, intermediates_only=True, output_fmt="NCHW"
            )
        except AttributeError as error:
            raise UsageError(
                f"{self.spec.name} gives no intermediate layers.", "Choose a head that reads pooled features."
            ) from error
        return out["image_intermediates"]


def _flatten(maps: Tensor) -> Tensor:
    """(B, W, H, W') -> (B, H*W', W)."""
    return maps.flatten(2).transpose(1, 2)
