"""State dicts of open_clip's models: cut into towers, renamed between its classes, resized to other images.

open_clip has two spellings. ``CLIP`` keeps the text tower's tensors at the top (``transformer.resblocks.0...``),
``CustomTextCLIP`` and ``CoCa`` under ``text.``; checkpoints of both are about for the same networks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from zoo.console import say
from zoo.weights.fit import load_strictly

if TYPE_CHECKING:
    from torch import Tensor, nn

IMAGE, TEXT = "visual.", "text."
TEXT_AT_TOP = ("transformer.", "token_embedding.", "positional_embedding", "ln_final.", "text_projection", "cls_emb")
NOTES = frozenset(("input_resolution", "context_length", "vocab_size"))
"""Numbers, not weights, that OpenAI's checkpoints carry."""

POSITIONS = ("text.transformer.embeddings.position_ids", "transformer.embeddings.position_ids")
"""A buffer of BERT-like networks that transformers stopped saving."""


def tower_state(state: Mapping[str, Tensor], modality: str) -> dict[str, Tensor]:
    """The state dict of one tower's module, ``"image"`` or ``"text"``, out of that of a pair, in either spelling."""
    return {bare: state[name] for name, bare in _names(state, modality).items()}


def _names(state: Mapping[str, Tensor], modality: str) -> dict[str, str]:
    """A tower's names in a pair's state dict -> in its own module's."""
    prefix = IMAGE if modality == "image" else TEXT
    found = {name: name.removeprefix(prefix) for name in state if name.startswith(prefix)}
    if found or modality == "image":
        return found
    return {name: name for name in state if name.startswith(TEXT_AT_TOP)}


def is_pair(state: Mapping[str, Tensor]) -> bool:
    """Whether it is the state dict of both towers."""
    return "logit_scale" in state


def load_pair(module: Any, state: Mapping[str, Tensor], name: str) -> None:
    """Load a checkpoint of a pair into ``CLIP``, ``CustomTextCLIP`` or ``CoCa``, in either spelling, strictly.

    Raises:
        WeightsError: a tensor is missing, left over or of another shape.
    """
    if not is_pair(state):  # nothing of it is known: let the strict loader say what is wrong
        load_strictly(module, state, name)
    image, text = tower_state(state, "image"), tower_state(state, "text")
    spelt = TEXT if hasattr(module, "text") else ""
    taken = {*NOTES, *_names(state, "image"), *_names(state, "text")}
    made = {key: tensor for key, tensor in state.items() if key not in taken}
    for key in ("logit_scale", "logit_bias"):  # some trainers save them as vectors of one number
        own = getattr(module, key, None)
        if key in made and own is not None and made[key].numel() == own.numel():
            made[key] = made[key].reshape(own.shape)
    if module.logit_bias is not None and "logit_bias" not in made:
        say(f"weights: {name} has no bias on its logits in this file; it starts at 0, as in open_clip")
        made["logit_bias"] = module.logit_bias.detach().new_zeros(module.logit_bias.shape)
    made |= {f"{IMAGE}{key}": tensor for key, tensor in _resized(module.visual, image).items()}
    made |= {f"{spelt}{key}": tensor for key, tensor in text.items()}
    load_strictly(module, _without_positions(made, module), name)


def load_tower(module: nn.Module, state: Mapping[str, Tensor], modality: str, name: str) -> None:
    """Load one tower's module from the state dict of a pair or of that tower, strictly.

    Raises:
        WeightsError: a tensor is missing, left over or of another shape.
    """
    own = tower_state(state, modality) if is_pair(state) else dict(state)
    own = _resized(module, own) if modality == "image" else _without_positions(own, module)
    load_strictly(module, own, name)


def fit_size(visual: Any, size: tuple[int, int], native: tuple[int, int], image: Mapping[str, Tensor]) -> bool:
    """Make a timm tower ready for images of ``size``. A tower with random numbers, or whose state dict ``image`` was
    saved at that size, changes before it is loaded: True. Else it must be loaded first: False."""
    if not hasattr(visual, "trunk") or size == native:
        return True
    shapes = {name: tensor.shape for name, tensor in visual.state_dict().items()}
    if image and all(shapes.get(name, tensor.shape) == tensor.shape for name, tensor in image.items()):
        return False
    visual.set_input_size(size)
    return True


def _resized(visual: Any, image: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Position embeddings of open_clip's own networks, interpolated where the images have another size."""
    from open_clip.model import resize_pos_embed

    made = dict(image)
    # (name, rows and columns of the grid): of the vision transformer, of the modified ResNet's attention pooling.
    if hasattr(visual, "grid_size"):
        key, grid = "positional_embedding", visual.grid_size
    elif hasattr(visual, "attnpool"):
        key, side = "attnpool.positional_embedding", visual.image_size // 32
        grid = (side, side)
    else:
        return made
    patches = made[key].shape[0] - 1 if key in made and made[key].dim() == 2 else 0
    if patches > 0 and math.isqrt(patches) ** 2 == patches:
        held = {"visual.positional_embedding": made[key]}
        resize_pos_embed(held, SimpleNamespace(visual=SimpleNamespace(grid_size=grid)))
        made[key] = held["visual.positional_embedding"]
    return made


def _without_positions(state: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    own = dict(module.named_buffers())
    return {key: tensor for key, tensor in state.items() if key not in POSITIONS or key in own}
