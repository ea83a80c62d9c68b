"""What the pretraining tasks share: a backbone that can be saved alone, and parameters of the objective's own."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from zoo.protocols import Batch, LayerGroups, Metrics
from zoo_registry.errors import UsageError


class PretrainingTask(nn.Module):
    """A :class:`zoo.protocols.Task` over a backbone. Subclasses give ``forward`` and ``metrics``."""

    phases = ("main",)
    batch_coupled = False
    monitor = ("loss", "min")

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, batch: Batch, phase: str = "main") -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor | None]:
        raise NotImplementedError

    def metrics(self) -> Metrics:
        raise NotImplementedError

    def layer_groups(self, phase: str = "main") -> LayerGroups:
        """The backbone's groups from input to output, then what the objective adds."""
        groups: LayerGroups = [
            (name, [(f"backbone.{key}", parameter) for key, parameter in parameters])
            for name, parameters in self.backbone.layer_groups()
        ]
        own = [(key, parameter) for key, parameter in self.named_parameters() if not key.startswith("backbone.")]
        return [*groups, ("objective", own)] if own else groups

    def after_step(self, step: int, total: int) -> None:
        """Nothing follows a step."""

    def export_module(self) -> nn.Module:
        raise UsageError("A pretraining objective is not a model to export.", "Finetune what it trained, then export.")

    def example_inputs(self, batch_size: int = 2) -> Batch:
        """What the backbone reads."""
        return self.backbone.example_inputs(batch_size)


def needs_both_sides(backbone: Any, objective: str) -> None:
    """Refuse backbones whose tokens see only what is before them.

    Raises:
        UsageError: the backbone is causal.
    """
    if getattr(backbone, "causal", False):
        raise UsageError(
            f"The objective {objective} needs tokens that see both sides, and {backbone.spec.name} is a causal model.",
            "Choose --objective causal.",
        )
