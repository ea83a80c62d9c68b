"""open_clip's image-text models as :class:`zoo.protocols.DualEncoder`, and either tower alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from open_clip.model import CLIP
from torch import Tensor, nn
from torch.nn import functional as F

from zoo import pairs
from zoo.evaluating import evaluating
from zoo.protocols import Batch, Features, LayerGroups
from zoo_multimodal import clip_modules as modules
from zoo_multimodal.clip_groups import renamed, tower_groups
from zoo_multimodal.clip_image import ImageTower
from zoo_multimodal.clip_text import SharedText, TextTower
from zoo_multimodal.clip_weights import fit_size, is_pair, load_pair, load_tower, tower_state
from zoo_registry.errors import UsageError
from zoo_registry.specs import InputSpec, ModelSpec, WeightsSpec


def build_clip(
    spec: ModelSpec,
    input: InputSpec,
    weights: WeightsSpec | None = None,
    state: Mapping[str, Tensor] | None = None,
    *,
    config: modules.Config,
    pad: int = 0,
    drop: int | None = None,
) -> ClipBackbone:
    """Build both towers.

    Args:
        spec: the record; its name appears in errors.
        input: the contract of the pair; the network is built for the size of its images, whatever its own is.
        weights: what ``state`` is, where it is a published checkpoint.
        state: a state dict with open_clip's names, in either of its two spellings. None: random numbers.
        config: open_clip's configuration.
        pad, drop: as :class:`zoo_multimodal.clip_text.TextTower` takes them.

    Raises:
        WeightsError: a tensor is missing, left over or of another shape.
        UsageError: the network cannot take images of that size, or texts of that length.
    """
    image, text = input.parts
    described = modules.config_of(config)
    modules.warn_of_gelu(config, weights)
    _check_length(spec, text, described)
    size, native = (image.size[1], image.size[2]), modules.native_size(described)
    with _told_of_size(spec, size, native):
        module = modules.build_pair_module(modules.sized(described, size), spec.name)
        first = fit_size(module.visual, size, native, {} if state is None else tower_state(state, "image"))
        if state is not None:
            load_pair(module, state, spec.name)
        if not first:
            module.visual.set_input_size(size)
        backbone = ClipBackbone(module, spec, input, int(described["embed_dim"]), pad, drop)
        _run_once(backbone.towers["image"], size, native)
    return backbone


def build_image_tower(
    spec: ModelSpec,
    input: InputSpec,
    weights: WeightsSpec | None = None,
    state: Mapping[str, Tensor] | None = None,
    *,
    config: modules.Config,
) -> ImageTower:
    """Build the image tower alone; ``state`` is that of a pair or of the tower. Arguments and errors as
    :func:`build_clip`."""
    described = modules.config_of(config)
    modules.warn_of_gelu(config, weights)
    size, native = (input.size[1], input.size[2]), modules.native_size(described)
    with _told_of_size(spec, size, native):
        module: Any = modules.build_image_module(modules.sized(described, size))
        own: Mapping[str, Tensor] = state or {}
        first = fit_size(module, size, native, tower_state(own, "image") if is_pair(own) else own)
        if state is not None:
            load_tower(module, state, "image", spec.name)
        if not first:
            module.set_input_size(size)
        tower = ImageTower(module, spec, input, int(described["embed_dim"]))
        _run_once(tower, size, native)
    return tower


def build_text_tower(
    spec: ModelSpec,
    input: InputSpec,
    weights: WeightsSpec | None = None,
    state: Mapping[str, Tensor] | None = None,
    *,
    config: modules.Config,
    pad: int = 0,
    drop: int | None = None,
) -> TextTower:
    """Build the text tower alone; ``state`` is that of a pair or of the tower. Arguments and errors as
    :func:`build_clip`."""
    described = modules.config_of(config)
    modules.warn_of_gelu(config, weights)
    _check_length(spec, input, described)
    module = modules.build_text_module(described, spec.name)
    if state is not None:
        load_tower(module, state, "text", spec.name)
    return TextTower(module, spec, input, int(described["embed_dim"]), pad, drop)


def _check_length(spec: ModelSpec, text: InputSpec, config: Mapping[str, Any]) -> None:
    context = config["text_cfg"].get("context_length", 77)
    if text.size[0] > context and "hf_model_name" not in config["text_cfg"]:
        raise UsageError(
            f"{spec.name} takes at most {context} tokens, not {text.size[0]}.",
            f"Give a --max-length of {context} or less.",
        )


def _run_once(tower: nn.Module, size: tuple[int, int], native: tuple[int, int]) -> None:
    """Grids and strides that do not divide a size are noticed by nothing but an image."""
    if size == native:
        return
    with evaluating(tower):
        tower(tower.example_inputs(1))  # type: ignore[operator]


@contextmanager
def _told_of_size(spec: ModelSpec, size: tuple[int, int], native: tuple[int, int]) -> Iterator[None]:
    """What fails at another size than the network's own is said to fail for it; anything else is a bug worth seeing."""
    try:
        yield
    except (AssertionError, ValueError, RuntimeError) as error:
        if size == native:
            raise
        first = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        wanted, own = ("x".join(map(str, sides)) for sides in (size, native))
        raise UsageError(
            f"{spec.name} cannot take images of {wanted}: {first}.",
            f"Leave --size out for {own}, or give a multiple of 32.",
        ) from error


class ClipBackbone(nn.Module):
    """An open_clip model behind :class:`zoo.protocols.DualEncoder` and :class:`zoo.protocols.Backbone`.

    Args:
        module: ``open_clip.CLIP``, ``CustomTextCLIP`` or ``CoCa``.
        spec, input: the record and the contract of the pair it was built for.
        dim: D, width of the space that the towers share.
        pad, drop: as :class:`zoo_multimodal.clip_text.TextTower` takes them.

    Attributes:
        towers: ``"image"`` and ``"text"``, on the parameters of ``module``. They are no submodules, so each parameter
            has one name here: the one in ``module``.
    """

    modalities = ("image", "text")

    def __init__(
        self, module: Any, spec: ModelSpec, input: InputSpec, dim: int, pad: int = 0, drop: int | None = None
    ) -> None:
        super().__init__()
        self.module: Any = module
        self.spec, self.input, self.dim = spec, input, dim
        image, text = input.parts
        half = SharedText(module) if isinstance(module, CLIP) else module.text
        self.towers: dict[str, ImageTower | TextTower] = {
            "image": ImageTower(module.visual, spec, image, dim),
            "text": TextTower(half, spec, text, dim, pad, drop),
        }
        self.dynamic_axes: Mapping[str, tuple[str, ...]] = {
            "image.image": ("batch",),
            **{f"text.{name}": axes for name, axes in TextTower.dynamic_axes.items()},
        }

    @property
    def logit_scale(self) -> nn.Parameter:
        """() natural logarithm of the factor on cosines."""
        return self.module.logit_scale

    @property
    def logit_bias(self) -> nn.Parameter | None:
        """() added to the logits (SigLIP), or None."""
        return self.module.logit_bias

    def encode(self, modality: str, batch: Batch) -> Tensor:
        """What a tower's pipeline prepares -> (B, D) unit vectors."""
        return F.normalize(self.towers[modality](batch).pooled, dim=-1)

    def forward(self, batch: Batch, layouts: Sequence[str] = ("pooled",)) -> Features:
        """A batch of pairs -> ``pooled`` (B, 2, D), unit vectors, the image's first."""
        sides = [self.encode(modality, pairs.side_of(batch, modality)) for modality in self.modalities]
        return Features(pooled=torch.stack(sides, dim=1))

    def layer_groups(self) -> LayerGroups:
        """``image.embeddings``, ``image.layer.0``, ..., ``text.final``, of CoCa ``decoder.layer.0``, ..., and
        ``logits``. What is locked stands in no group."""
        groups = [
            group
            for modality, tower in self.towers.items()
            for group in renamed(tower_groups(tower.module), f"{modality}.", self)
        ]
        if hasattr(self.module, "text_decoder"):
            groups += renamed(_decoder_groups(self.module.text_decoder), "decoder.", self)
        names = ("logit_scale", "logit_bias")
        logits = [(f"module.{name}", p) for name in names if (p := getattr(self.module, name)) is not None]
        logits = [(name, parameter) for name, parameter in logits if parameter.requires_grad]
        return [*groups, *([("logits", logits)] if logits else [])]

    def example_inputs(self, batch_size: int = 2) -> Batch:
        """Both towers' examples, under ``image.NAME`` and ``text.NAME``."""
        return {
            f"{modality}.{name}": tensor
            for modality, tower in self.towers.items()
            for name, tensor in tower.example_inputs(batch_size).items()
        }

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade compute for memory in both towers, and in CoCa's decoder."""
        for tower in self.towers.values():
            tower.set_grad_checkpointing(enable)
        if hasattr(self.module, "text_decoder"):
            self.module.text_decoder.set_grad_checkpointing(enable)

    def train(self, mode: bool = True) -> ClipBackbone:
        """As of every module; the towers are told too."""
        super().train(mode)
        for tower in self.towers.values():
            tower.train(mode)
        return self


def _decoder_groups(decoder: Any) -> LayerGroups:
    """``layer.0``, ... with the attention to the image that belongs to each, and ``final``."""
    groups: dict[str, list[tuple[str, nn.Parameter]]] = {f"layer.{i}": [] for i in range(len(decoder.resblocks))}
    for name, parameter in decoder.named_parameters():
        if not parameter.requires_grad:
            continue
        path = name.split(".")
        title = f"layer.{path[1]}" if path[0] in ("resblocks", "cross_attn") else "final"
        groups.setdefault(title, []).append((name, parameter))
    return [(title, members) for title, members in groups.items() if members]
