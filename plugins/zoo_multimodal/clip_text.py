"""open_clip's text towers as backbones. B batch, N tokens of a text, W width of a tower, D width of the space it shares
with images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from open_clip.hf_model import HFTextEncoder
from open_clip.model import CLIP
from torch import Tensor, nn

from zoo.protocols import Batch, Features, LayerGroups
from zoo_multimodal.clip_groups import renamed, tower_groups
from zoo_registry.specs import InputSpec, ModelSpec

EXAMPLE_LENGTH = 7


class SharedText(nn.Module):
    """The text tower of open_clip's ``CLIP``, which has it in pieces of its own, under the names that a tower alone
    has. All parameters are the pair's."""

    def __init__(self, pair: CLIP) -> None:
        super().__init__()
        self.transformer = pair.transformer
        self.token_embedding = pair.token_embedding
        self.positional_embedding = pair.positional_embedding
        self.ln_final = pair.ln_final
        self.text_projection = pair.text_projection
        self.context_length = pair.context_length
        self._pair = (pair,)  # in a tuple, where it is no submodule

    def forward(self, text: Tensor) -> Tensor:
        return self._pair[0].encode_text(text)

    def forward_intermediates(self, text: Tensor, **options: Any) -> dict[str, Any]:
        return self._pair[0].forward_intermediates(
            text=text,
            text_indices=options["indices"],
            normalize_intermediates=options["normalize_intermediates"],
            intermediates_only=True,
        )

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        self.transformer.grad_checkpointing = enable


class TextTower(nn.Module):
    """A text tower behind :class:`zoo.protocols.Backbone`; also LanguageModel and DynamicAxes.

    open_clip's own towers see padding, and were trained on texts padded to one length. So texts of any length are
    padded inside, as open_clip's tokenizers pad, and a text has one vector whatever it is batched with.

    Args:
        module: open_clip's ``TextTransformer`` or ``HFTextEncoder``, or a :class:`SharedText`.
        spec, input: the record and the input contract it was built for.
        dim: D.
        pad: the token id that stands for padding.
        drop: a token id that the model never sees, 0 in its place (CLIPA's separator).

    Attributes:
        vocabulary: V, rows of the token embedding table.
        context: tokens that the network takes; texts are padded to it. None: of transformers, which masks padding.
    """

    dynamic_axes: Mapping[str, tuple[str, ...]] = dict.fromkeys(("input_ids", "attention_mask"), ("batch", "sequence"))

    def __init__(
        self, module: nn.Module, spec: ModelSpec, input: InputSpec, dim: int, pad: int = 0, drop: int | None = None
    ) -> None:
        super().__init__()
        self.module: Any = module
        self.spec, self.input, self.dim = spec, input, dim
        inner: Any = module
        self.hugging = isinstance(module, HFTextEncoder)
        self.pad = int(inner.config.pad_token_id) if self.hugging else pad
        self.drop = drop
        self.context: int | None = None if self.hugging else int(inner.context_length)
        self.vocabulary = int(self.input_embedding().num_embeddings)

    def forward(self, batch: Batch, layouts: Sequence[str] = ("pooled",)) -> Features:
        """``input_ids`` (B, N) and ``attention_mask`` (B, N), without which all ids are taken as they are; or (B, K, N)
        for K texts a sample -> Features, ``pooled`` (B, D) projected and not yet of length 1.

        ``"tokens"`` fills the last block's output behind its norm, (B, N, W); ``"layers"`` every block's.
        """
        ids, mask = batch["input_ids"], batch.get("attention_mask")
        texts = ids.shape[1] if ids.dim() == 3 else 0
        if texts:
            ids, mask = ids.flatten(0, 1), None if mask is None else mask.flatten(0, 1)
        padded = self.padded(ids, mask)
        read = self._read_hugging if self.hugging else self._read
        pooled, tokens, layers = read(padded, layouts)

        def shaped(tensor: Tensor) -> Tensor:
            return tensor.unflatten(0, (-1, texts)) if texts else tensor

        def cut(tensor: Tensor) -> Tensor:
            return shaped(tensor[:, : ids.shape[1]])

        return Features(
            pooled=shaped(pooled),
            tokens=None if tokens is None else cut(tokens),
            mask=None if mask is None else shaped(mask.bool()),
            layers=None if layers is None else tuple(map(cut, layers)),
        )

    def layer_groups(self) -> LayerGroups:
        """``embeddings``, ``layer.0``, ..., ``final``: see :func:`zoo_multimodal.clip_groups.tower_groups`."""
        return renamed(tower_groups(self.module), "", self)

    def example_inputs(self, batch_size: int = 2) -> Batch:
        """Zeros as ids and ones as mask, each (batch_size, a few tokens)."""
        zeros = torch.zeros(batch_size, min(EXAMPLE_LENGTH, self.input.size[0]), dtype=torch.int64)
        return {"input_ids": zeros, "attention_mask": torch.ones_like(zeros)}

    def input_embedding(self) -> nn.Embedding:
        """(V, E) token embedding table."""
        return self.module.transformer.get_input_embeddings() if self.hugging else self.module.token_embedding

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade compute for memory: activations of blocks are recomputed in the backward pass."""
        if self.hugging and not enable:
            self.module.transformer.gradient_checkpointing_disable()
        else:
            self.module.set_grad_checkpointing(enable)

    def padded(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """(B, N) -> (B, context), padding as in training; of transformers' networks (B, N)."""
        if mask is not None:
            ids = torch.where(mask.bool(), ids, self.pad)
        if self.context is not None:
            # Not by the missing length, which is a number of its own in each graph that is exported.
            ids = torch.cat([ids, ids.new_full((ids.shape[0], self.context), self.pad)], dim=1)[:, : self.context]
        return ids if self.drop is None else torch.where(ids == self.drop, 0, ids)

    def _read(self, ids: Tensor, layouts: Sequence[str]) -> tuple[Tensor, Tensor | None, Sequence[Tensor] | None]:
        out = self.module(ids)
        pooled = out[0] if isinstance(out, tuple) else out
        tokens = self._maps(ids, 1, True)[-1] if "tokens" in layouts else None
        return pooled, tokens, self._maps(ids, None, False) if "layers" in layouts else None

    def _maps(self, ids: Tensor, indices: int | None, norm: bool) -> list[Tensor]:
        return self.module.forward_intermediates(
            ids, indices=indices, normalize_intermediates=norm, intermediates_only=True, output_fmt="NLC"
        )["text_intermediates"]

    def _read_hugging(
        self, ids: Tensor, layouts: Sequence[str]
    ) -> tuple[Tensor, Tensor | None, Sequence[Tensor] | None]:
        mask = (ids != self.pad).long()
        out = self.module.transformer(
            input_ids=ids, attention_mask=mask, output_hidden_states="layers" in layouts, return_dict=True
        )
        pooled = self.module.proj(self.module.pooler(out, mask))
        layers = tuple(out.hidden_states[1:]) if "layers" in layouts else None
        return pooled, out.last_hidden_state if "tokens" in layouts else None, layers
