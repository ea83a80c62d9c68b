"""Batches of pairs as contrastive objectives take them: varied so little that what belonged together still does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.objectives import View
from zoo.pairs import put_side, side_of
from zoo.protocols import Batch, Draws

KEYS = "keys"
GOLDEN = 0x1E3779B97F4A7C15  # odd, so that multiplying by it loses nothing


def pair_view(pipeline: Any, config: Any) -> PairView:
    """See :class:`PairView`; with ``config.options["crop"]``."""
    return PairView(pipeline, config.seed, config.options["crop"])


class PairView(View):
    """A pipeline of pairs whose pictures are only cropped a little, as open_clip does: no flip, since captions say left
    and right, and no jitter, since they name colours. Sound and texts are varied as their own pipelines do.

    In evaluation a batch also holds ``keys`` (B, 2) int64: equal within a column where the items are.

    Args:
        pipeline: :class:`zoo.protocols.Paired`.
        seed: of the run.
        crop: the smallest share of a picture's area that a crop keeps; 1: pictures are not varied.
    """

    def __init__(self, pipeline: Any, seed: int, crop: float) -> None:
        super().__init__(pipeline, seed)
        self.crop = crop
        self.parts = pipeline.parts  # of its own: from Python 3.12 on, protocols do not see what __getattr__ finds

    def augment(self, batch: Batch, draws: Draws) -> Batch:
        """Each side in its own way."""
        for part in self.parts:
            side = side_of(batch, part.modality)
            if part.modality == "image":
                side = part.prepare({**side, part.input_name: cropped(side[part.input_name], draws, self.crop)})
            else:
                side = part.augment(side, draws)
            batch = put_side(batch, part.modality, side)
        return batch

    def corrupt(self, batch: Batch, draws: Draws) -> Batch:
        """Nothing is hidden: what belongs together is learnt from."""
        return batch

    def prepare(self, batch: Batch) -> Batch:
        """As the pipeline, and ``keys``."""
        keys = [content_keys(side_of(batch, part.modality), part.input_name) for part in self.parts]
        return {**self.pipeline.prepare(batch), KEYS: torch.stack(keys, dim=1)}


def cropped(canvas: Tensor, draws: Draws, least: float) -> Tensor:
    """uint8 (B, C, H, W) -> the same shape: of each picture a part of its own shape, place and size, scaled back.

    Args:
        least: smallest share of the area; between it and 1 the share is drawn uniformly.
    """
    if least >= 1:
        return canvas
    with torch.no_grad(), torch.autocast(canvas.device.type, enabled=False):
        size, across, down = draws.uniform("pair crop", 3).unbind(dim=1)
        side = (least + (1 - least) * size).sqrt()
        # -1 to 1 spans the picture, so that a part of share s can be moved by 1 - s either way.
        shift = (1 - side)[:, None] * (2 * torch.stack([across, down], dim=1) - 1)
        matrix = torch.diag_embed(side[:, None].expand(-1, 2))
        grid = F.affine_grid(torch.cat([matrix, shift[..., None]], dim=2), list(canvas.shape), align_corners=False)
        varied = F.grid_sample(canvas.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
        return varied.round_().clamp_(0, 255).to(canvas.dtype)


def content_keys(side: Batch, name: str) -> Tensor:
    """(B,) int64 hashes of the decoded items, the same whatever they are padded to."""
    items = side[name]
    flat = items.reshape(len(items), -1)
    place = torch.arange(1, flat.shape[1] + 1, device=flat.device)
    weight = place * GOLDEN
    weight = (weight ^ (weight >> 29)) * GOLDEN | 1
    # Padding is zeros, which add nothing; integers wrap.
    keys = torch.stack([(_whole(row) * weight).sum() for row in flat])
    return keys + side["length"].long() * GOLDEN if "length" in side else keys


def _whole(row: Tensor) -> Tensor:
    return row.view(torch.int32).long() if row.dtype == torch.float32 else row.long()
