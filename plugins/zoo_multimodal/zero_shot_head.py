"""A classifier that begins where a model of pairs stands without any training (Radford et al., "Learning transferable
visual models from natural language supervision", 2021). B batch, D embedding width, C classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.heads import ClassificationHead
from zoo.protocols import Features

SMALLEST = 1e-12


class ZeroShotHead(ClassificationHead):
    """One label of C, by the cosine between a vector of the features and one for each class. ``forward`` (B, D) ->
    logits (B, C) = scale * cosine + bias, as long as :meth:`begin` is all that happened; training moves the classes'
    vectors and the bias, and leaves the scale, which their lengths can stand for.

    Args: as of :class:`zoo.heads.ClassificationHead`.

    Attributes:
        projection: (E, D) into the space of the classes' vectors, where the features are not in it themselves, or None.
    """

    scale: Tensor
    projection: nn.Parameter | None

    def __init__(
        self, dim: int, labels: tuple[str, ...], *, dropout: float = 0.0, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(dim, labels, dropout=dropout, label_smoothing=label_smoothing)
        self.dim = dim
        self.register_buffer("scale", torch.tensor(1.0))
        self.register_parameter("projection", None)

    def forward(self, features: Features) -> Tensor:
        # Squares of half-precision features overflow.
        vectors = features.pooled.float()
        if self.projection is not None:
            vectors = F.linear(vectors, self.projection)
        vectors = vectors / vectors.float().norm(dim=-1, keepdim=True).clamp(min=SMALLEST)
        return self.linear(self.dropout(vectors) * self.scale)

    @torch.no_grad()
    def begin(self, vectors: Tensor, scale: float, projection: Tensor | None = None) -> None:
        """Take over the classes' unit vectors (C, E), the factor on cosines, and what leads from the features into
        their space (E, D), None where E = D and they are in it. The bias begins at 0."""
        self._widen(vectors.shape[-1], projection is not None)
        self.linear.weight.copy_(vectors)
        if self.projection is not None and projection is not None:
            self.projection.copy_(projection)
        nn.init.zeros_(self.linear.bias)
        self.scale.fill_(scale)

    def _widen(self, width: int, projected: bool) -> None:
        """Make room for vectors of that width, and for a projection to it."""
        if self.linear.in_features != width:
            self.linear = nn.Linear(width, len(self.labels), device=self.scale.device)
        if projected:
            self.projection = nn.Parameter(torch.zeros(width, self.dim, device=self.scale.device))

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        # What was saved tells the width of its space, which the backbone's does not.
        if (saved := state_dict.get(f"{prefix}projection")) is not None:
            self._widen(len(saved), True)
        super()._load_from_state_dict(state_dict, prefix, *rest)  # type: ignore[arg-type]
