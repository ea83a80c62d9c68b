"""Many heads trained side by side on the same features, each with a learning rate and weight decay of its own.

After the linear evaluation of DINOv2 (Oquab et al., 2023): the features are read once for the whole grid.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zoo.protocols import Batch, Features, Head, LayerGroups, Metrics, ParamGroup


class HeadGrid(nn.Module):
    """A :class:`zoo.protocols.Task` over batches of features: copies of one head that share nothing but the data.

    Args:
        head: the head to copy; every copy starts from its weights.
        grid: (learning rate, weight decay) of each copy.
    """

    phases = ("main",)
    batch_coupled = False

    def __init__(self, head: Head, grid: Sequence[tuple[float, float]]) -> None:
        super().__init__()
        self.grid = tuple(grid)
        self.heads = nn.ModuleList(copy.deepcopy(head) for _ in self.grid)  # type: ignore[misc]
        self.monitor = head.monitor
        self.uses = head.uses
        self._metrics: GridMetrics | None = None

    def forward(self, batch: Batch, phase: str = "main") -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor]:
        """The mean of all heads' losses. Their gradients do not meet, and Adam does not mind their common scale, so
        each head trains as if alone.

        Returns outputs (B, H, ...), H heads.
        """
        features = Features(**{"pooled": batch.get("pooled"), **{field: batch[field] for field in self.uses}})  # type: ignore[arg-type]
        logits = [head(features) for head in self.heads]
        losses = [head.loss(value, batch) for head, value in zip(self.heads, logits, strict=True)]  # type: ignore[operator]
        return torch.stack([loss for loss, _ in losses]).mean(), losses[0][1], {}, torch.stack(logits, dim=1)

    def layer_groups(self, phase: str = "main") -> LayerGroups:
        return [
            (f"head {i}", [(f"heads.{i}.{name}", parameter) for name, parameter in head.named_parameters()])
            for i, head in enumerate(self.heads)
        ]

    def param_groups(self) -> list[ParamGroup]:
        """Groups whose ``lr_scale`` is the head's own learning rate, for a schedule that peaks at 1."""
        groups = []
        for (name, parameters), (lr, weight_decay) in zip(self.layer_groups(), self.grid, strict=True):
            for suffix, decay, chosen in (
                ("", weight_decay, [(n, p) for n, p in parameters if p.dim() > 1]),
                (" (1-D)", 0.0, [(n, p) for n, p in parameters if p.dim() <= 1]),
            ):
                if chosen:
                    groups.append(ParamGroup(f"{name} lr {lr:g}{suffix}", tuple(chosen), lr, decay))
        return groups

    def metrics(self) -> GridMetrics:
        """The same object each time: making metrics for every head costs more than evaluating them."""
        if self._metrics is None:
            self._metrics = GridMetrics(self)
        return self._metrics

    def after_step(self, step: int, total: int) -> None:
        """Nothing follows a step."""

    def export_module(self) -> nn.Module:
        raise NotImplementedError("a grid is a step on the way: export the task that its best head goes into")

    def example_inputs(self, batch_size: int = 2) -> dict[str, Tensor]:
        raise NotImplementedError("a grid is a step on the way: export the task that its best head goes into")


class GridMetrics:
    """Metrics of every head. ``compute`` returns those of the best one, under their plain names, and its number as
    ``best_head``: best by the monitored metric, ties broken by the lower loss."""

    def __init__(self, grid: HeadGrid) -> None:
        self.grid = grid
        self.each: list[Metrics] = [head.metrics() for head in grid.heads]  # type: ignore[operator]
        self.reset()

    def update(self, logits: Tensor, batch: Batch) -> None:
        for i, metrics in enumerate(self.each):
            metrics.update(logits[:, i], batch)
            loss, count = self.grid.heads[i].loss(logits[:, i], batch)  # type: ignore[operator]
            self.loss[i] += float(loss)
            self.count[i] += float(count)

    def compute(self) -> dict[str, float]:
        name, mode = self.grid.monitor
        sign = 1.0 if mode == "max" else -1.0
        results = [metrics.compute() for metrics in self.each]
        losses = [loss / max(count, 1.0) for loss, count in zip(self.loss, self.count, strict=True)]
        best = max(range(len(results)), key=lambda i: (sign * results[i][name], -losses[i]))
        return {**results[best], "head_loss": losses[best], "best_head": float(best)}

    def reset(self) -> None:
        for metrics in self.each:
            metrics.reset()
        self.loss = [0.0] * len(self.each)
        self.count = [0.0] * len(self.each)

    def to(self, device: torch.device) -> GridMetrics:
        self.each = [metrics.to(device) for metrics in self.each]
        return self
