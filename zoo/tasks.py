"""The one task that serves every finetuning head: a backbone, a head, nothing in between."""

from __future__ import annotations

from torch import Tensor, nn

from zoo.protocols import Backbone, Batch, Features, Frames, Head, Keeps, LayerGroups, Metrics, Timed


class SupervisedTask(nn.Module):
    """Backbone + head. ``task.backbone`` stays reachable and savable alone.

    Args:
        backbone: an ``nn.Module`` that is a :class:`zoo.protocols.Backbone`.
        head: an ``nn.Module`` that is a :class:`zoo.protocols.Head`.
    """

    phases = ("main",)

    def __init__(self, backbone: Backbone, head: Head) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        if "lm" in head.uses and (train := getattr(backbone, "train_output_layer", None)):
            train()  # an output layer that is not tied learns only where its logits are used
        if isinstance(head, Timed) and isinstance(backbone, Frames):
            head.frame_seconds = backbone.frame_seconds
        self.monitor = head.monitor
        self.batch_coupled = getattr(head, "batch_coupled", False)

    def forward(self, batch: Batch, phase: str = "main") -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor | None]:
        logits = self.head(self.backbone(batch, self.head.uses))
        loss, count = self.head.loss(logits, batch)
        if isinstance(self.head, Keeps):  # what it keeps costs time, and training looks at none of it
            return loss, count, {}, None if self.training else self.head.keep(logits, batch)
        return loss, count, {}, logits

    def layer_groups(self, phase: str = "main") -> LayerGroups:
        """The backbone's groups from input to output, then the head."""
        groups = [
            (name, [(f"backbone.{key}", parameter) for key, parameter in parameters])
            for name, parameters in self.backbone.layer_groups()
        ]
        head = [(f"head.{key}", parameter) for key, parameter in self.head.named_parameters()]  # type: ignore[attr-defined]
        return [*groups, ("head", head)]

    def metrics(self) -> Metrics:
        return self.head.metrics()

    def after_step(self, step: int, total: int) -> None:
        """Nothing follows a supervised step."""

    def export_module(self) -> nn.Module:
        """``forward(input) -> logits`` in evaluation mode."""
        return _Exportable(self).eval()

    def example_inputs(self, batch_size: int = 2) -> dict[str, Tensor]:
        """One zero batch in the shape :meth:`zoo.protocols.Pipeline.prepare` gives: image (B, C, H, W)."""
        return self.backbone.example_inputs(batch_size)


class _Exportable(nn.Module):
    """The task without its losses, taking tensors by position as exporters want them."""

    def __init__(self, task: SupervisedTask) -> None:
        super().__init__()
        self.task = task
        self.names = tuple(task.example_inputs(1))

    def forward(self, *inputs: Tensor) -> Tensor:
        features: Features = self.task.backbone(dict(zip(self.names, inputs, strict=True)), self.task.head.uses)
        return self.task.head(features)
