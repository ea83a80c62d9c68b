"""What the zoo's own text networks share: a batch of token ids in, features out. B batch, N tokens, D width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo.protocols import Batch, Features, LayerGroups
from zoo.weights.fit import load_strictly
from zoo_registry.specs import InputSpec, ModelSpec
from zoo_text.tokenizer_training import vocabulary_of

EXAMPLE_LENGTH = 8


class TokenBackbone(nn.Module):
    """A network over token ids behind the :class:`zoo.protocols.Backbone` protocol; pooled is the mean over tokens.

    Args:
        module: called with the tensors named in ``inputs``, in order; the last but ids is a mask (B, N), True where a
            token is real. Returns a list of token maps (B, N, D_i), the last of which are the tokens. Its children
            stand in order, the first called ``embeddings`` with the table ``tokens``, and ``layers`` a list.
        inputs: names out of ``input_ids``, ``attention_mask`` and ``token_type_ids``.

    Attributes:
        vocabulary: V, rows of the token embedding table.
    """

    def __init__(
        self, module: nn.Module, spec: ModelSpec, input: InputSpec, *, dim: int, inputs: Sequence[str]
    ) -> None:
        super().__init__()
        self.module: Any = module
        self.spec, self.input, self.dim = spec, input, dim
        self.vocabulary = int(self.input_embedding().num_embeddings)
        self.dynamic_axes: Mapping[str, tuple[str, ...]] = dict.fromkeys(inputs, ("batch", "sequence"))

    def forward(self, batch: Batch, layouts: Sequence[str] = ("pooled",)) -> Features:
        """``input_ids`` and ``attention_mask`` (B, N), or (B, K, N) for K texts a sample: every field of the features
        then has K as its second dimension."""
        inputs = [batch[name] for name in self.dynamic_axes]
        texts = inputs[0].shape[1] if inputs[0].dim() == 3 else 0
        if texts:
            inputs = [tensor.flatten(0, 1) for tensor in inputs]
        mask = inputs[1].bool()
        layers = self.module(inputs[0], mask, *inputs[2:])
        tokens = layers[-1]
        weight = mask[..., None].to(tokens.dtype)
        pooled = (tokens * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)

        def shaped(tensor: Tensor) -> Tensor:
            return tensor.unflatten(0, (-1, texts)) if texts else tensor

        return Features(
            pooled=shaped(pooled),
            tokens=shaped(tokens) if "tokens" in layouts else None,
            mask=shaped(mask),
            layers=tuple(shaped(layer) for layer in layers) if "layers" in layouts else None,
        )

    def layer_groups(self) -> LayerGroups:
        """The embeddings, each layer, and what follows them."""
        groups: dict[str, list[tuple[str, nn.Parameter]]] = {}
        for name, parameter in self.named_parameters():
            path = name.split(".")
            title = ".".join(path[1:3]) if path[1] == "layers" else path[1]
            groups.setdefault(title, []).append((name, parameter))
        return list(groups.items())

    def example_inputs(self, batch_size: int = 2) -> Batch:
        """Eight tokens of id 0 a sample, all of them real, int64 (batch_size, 8) each."""
        shape = (batch_size, EXAMPLE_LENGTH)
        fill = {"attention_mask": torch.ones}
        return {name: fill.get(name, torch.zeros)(shape, dtype=torch.int64) for name in self.dynamic_axes}

    def input_embedding(self) -> nn.Embedding:
        """(V, E) token embedding table."""
        return self.module.embeddings.tokens


def finish(backbone: TokenBackbone, state: Mapping[str, Tensor] | None) -> TokenBackbone:
    """The backbone with ``state`` loaded into its module, strictly.

    Raises:
        WeightsError: a tensor is missing, left over or of another shape.
    """
    if state is not None:
        load_strictly(backbone.module, state, backbone.spec.name)
    return backbone


def rows(input: InputSpec, vocabulary: int | None) -> int:
    """How many embeddings a network needs: what was asked for, else as many as the tokenizer has tokens."""
    return vocabulary or vocabulary_of(input)
