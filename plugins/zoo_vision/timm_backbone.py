"""Any timm model as a :class:`zoo.protocols.Backbone`: pooled features, tokens, intermediate layers, layer groups."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import timm
import torch
from timm.models import PretrainedCfg, get_pretrained_cfg, group_parameters, is_model, list_pretrained
from torch import Tensor, nn

from zoo.console import say
from zoo.evaluating import evaluating
from zoo.protocols import Batch, Features, LayerGroups
from zoo.weights.fit import keys_text, load_strictly, mismatch
from zoo_registry.errors import UsageError, WeightsError
from zoo_registry.specs import InputSpec, ModelSpec, WeightsSpec
from zoo_vision.groups import named_groups, ordered_children
from zoo_vision.visible_patches import encode_visible, takes_single_patches

INPUT_NAME = "image"


def build_timm(
    spec: ModelSpec,
    input: InputSpec,
    weights: WeightsSpec | None = None,
    state: Mapping[str, Tensor] | None = None,
    **options: Any,
) -> TimmBackbone:
    """Build the timm model ``spec.name`` without its classifier.

    Args:
        spec: ``spec.name`` is timm's architecture name.
        input: image size and channels the model is built for.
        weights: what ``state`` is, where it is a published checkpoint.
        state: a checkpoint with its classifier (timm's own conversion of the family is applied, then the classifier
            and nothing else is dropped), or the state dict of an already headless timm module. None: random weights.
        options: keyword arguments for ``timm.create_model``.

    Raises:
        WeightsError: a tensor is missing, left over or of another shape.
        UsageError: the architecture cannot take images of that size.
    """
    config = _pretrained_cfg(spec.name, weights)
    native = tuple(input.size[1:]) == tuple(config.input_size[1:])
    options = {**_input_options(config, input), **options}
    try:
        module = _headless(spec.name, config, weights, state, options)
        kind = PatchTimmBackbone if takes_single_patches(module) else TimmBackbone
        backbone = kind(module, spec, input)
        if not native:
            _run_once(backbone)
    except (AssertionError, ValueError, RuntimeError) as error:
        # timm asserts what its architectures can take; without a change of size any failure is a bug worth seeing.
        if native:
            raise
        raise UsageError(
            f"{spec.name} cannot take images of {_side(input.size)}: {_first_line(error)}",
            f"Leave --size out for {_side(config.input_size)}, or give a multiple of 32.",
        ) from error
    return backbone


def _headless(
    name: str,
    config: PretrainedCfg,
    weights: WeightsSpec | None,
    state: Mapping[str, Tensor] | None,
    options: dict[str, Any],
) -> nn.Module:
    width = _classes(state, _head_keys(config, weights)) if state is not None else None
    if state is None or width is None:
        module = timm.create_model(name, pretrained_cfg=config.to_dict(), num_classes=0, **options)
        if state is None:
            return module
        if module.state_dict().keys() == state.keys():
            load_strictly(module, state, name)
            return module
        width = weights.num_classes if weights else config.num_classes
    return _create_loaded(name, config, state, width, options)


def _run_once(backbone: TimmBackbone) -> None:
    """Windows and strides that do not divide a size are noticed by nothing but an image."""
    with evaluating(backbone):
        backbone(backbone.example_inputs(1))


def _pretrained_cfg(name: str, weights: WeightsSpec | None) -> PretrainedCfg:
    if not is_model(name):
        raise UsageError(
            f"The installed timm {timm.__version__} has no model {name}.", "Upgrade it: pip install --upgrade timm"
        )
    tagged = f"{name}.{weights.tag}" if weights else name
    config = get_pretrained_cfg(tagged if tagged in list_pretrained(f"{name}.*") else name)
    assert config is not None  # timm raises for what it does not know
    return config


def _input_options(config: PretrainedCfg, input: InputSpec) -> dict[str, Any]:
    """What timm must know of the input when it builds the network, rather than when it sees an image."""
    options: dict[str, Any] = {}
    if config.fixed_input_size:
        options["img_size"] = tuple(input.size[1:])
    if input.size[0] != config.input_size[0]:
        options["in_chans"] = input.size[0]
    return options


def _head_keys(config: PretrainedCfg, weights: WeightsSpec | None) -> tuple[str, ...]:
    if weights and weights.head_keys:
        return weights.head_keys
    classifier = config.classifier or ()
    return (classifier,) if isinstance(classifier, str) else tuple(classifier)


def _classes(state: Mapping[str, Tensor], head_keys: Sequence[str]) -> int | None:
    """Width of the classifier the state was saved with; None if it holds none under timm's names."""
    for key in head_keys:
        weight = state.get(f"{key}.weight")
        if weight is not None:
            return int(weight.shape[0])
    return None


def _create_loaded(
    name: str,
    config: PretrainedCfg,
    state: Mapping[str, Tensor],
    num_classes: int,
    options: dict[str, Any],
) -> nn.Module:
    """Let timm itself convert and load the checkpoint, with every leniency of its loader noticed."""
    # With the checkpoint's own number of classes timm loads strictly; with any other it silently stops doing so.
    overlay = {"state_dict": dict(state), "num_classes": num_classes, "label_offset": 0}
    problems: list[str] = []
    module: Any
    try:
        with _loader_messages(problems):
            module = timm.create_model(
                name,
                pretrained=True,
                pretrained_cfg=config.to_dict(),
                pretrained_cfg_overlay=overlay,
                num_classes=num_classes,
                **options,
            )
    except RuntimeError as error:
        raise mismatch(str(error), name, tuple(state)) from error
    except Exception as error:  # a family's conversion meets keys it has never heard of
        raise WeightsError(
            f"These weights are not in a format timm knows for {name}: it stumbled over {error!r}, their first "
            f"keys are {keys_text(tuple(state))}.",
            "Give weights of this model.",
        ) from error
    for kind, keys in _reported(problems):
        if kind == "Missing" or not set(keys) <= state.keys():
            quoted = ", ".join(f'"{key}"' for key in keys)
            raise mismatch(f"{kind} key(s): {quoted}", name, tuple(state))
        say(f"{name}: the checkpoint also holds {keys_text(keys)}, which timm declares unused")
    module.pretrained_cfg.pop("state_dict", None)  # would keep a second copy of all weights alive
    module.reset_classifier(0)
    return module


@contextmanager
def _loader_messages(messages: list[str]) -> Iterator[None]:
    """Collect what timm's loader logs: for the few families it loads leniently by its own choice, lost keys are told
    nowhere else."""

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    logger = logging.getLogger("timm.models._builder")
    handler, level, propagate = Collect(), logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


def _reported(messages: Sequence[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for message in messages:
        if found := re.match(r"(Missing|Unexpected) keys \((.*?)\)", message):
            yield found[1], tuple(found[2].split(", "))


class TimmBackbone(nn.Module):
    """A headless timm model behind the :class:`zoo.protocols.Backbone` protocol.

    Args:
        module: a timm model without classifier.
        spec: its record.
        input: the input contract it was built for.

    Attributes:
        dim: D of ``Features.pooled``; tokens may be narrower where the architecture widens after pooling.
    """

    def __init__(self, module: nn.Module, spec: ModelSpec, input: InputSpec) -> None:
        super().__init__()
        self.module: Any = module  # what timm models have beyond nn.Module is known to no type checker
        self.spec = spec
        self.input = input
        width: Any = getattr(module, "head_hidden_size", None) or self.module.num_features
        self.dim = int(width)
        self._fixed = frozenset(n for n, p in module.named_parameters() if not p.requires_grad)

    def forward(self, batch: Batch, layouts: Sequence[str] = ("pooled",)) -> Features:
        """``batch["image"]`` (B, C, H, W), normalised -> Features.

        ``"tokens"`` or ``"grid"`` fill tokens (B, H'*W', D') and grid (H', W') with prefix tokens left out;
        ``"layers"`` fills every stage's or block's map, flattened alike.

        Raises:
            UsageError: ``"layers"`` of an architecture without intermediate features.
        """
        image = batch[INPUT_NAME]
        layers: tuple[Tensor, ...] | None = None
        if "layers" in layouts:
            maps, layers = self._with_layers(image)
        else:
            maps = self.module.forward_features(image)
        pooled = self.module.forward_head(maps, pre_logits=True)
        if "tokens" not in layouts and "grid" not in layouts:
            return Features(pooled=pooled, layers=layers)
        tokens, grid = self._tokens(maps, image)
        return Features(pooled=pooled, tokens=tokens, grid=grid, layers=layers)

    def layer_groups(self) -> LayerGroups:
        """timm's own order of layers (the one its layer-wise decay uses); the order of children where it has none.
        Parameters that the architecture itself keeps fixed stand in no group."""
        named = [(n, p) for n, p in self.module.named_parameters() if n not in self._fixed]
        if hasattr(self.module, "group_matcher"):
            matcher = self.module.group_matcher(coarse=False)
            place = group_parameters(self.module, matcher, reverse=True)
        else:
            place = ordered_children(self.module)
        return named_groups([(f"module.{n}", p, place[n]) for n, p in named])

    def stages(self) -> list[nn.Module]:
        """The modules that make the ``"layers"`` of Features, in that order, as timm names them; empty where it does
        not. Their outputs are (B, D, H, W) in networks of maps, and whatever the architecture holds in others."""
        info: Any = getattr(self.module, "feature_info", ())
        names = [str(entry["module"]) for entry in getattr(info, "info", info)]
        return [self.module.get_submodule(name) for name in names]

    def example_inputs(self, batch_size: int = 2) -> Batch:
        """``{"image": (batch_size, C, H, W)}`` zeros."""
        return {INPUT_NAME: torch.zeros(batch_size, *self.input.size)}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade compute for memory: activations of blocks are recomputed in the backward pass.

        Raises:
            UsageError: the architecture has no such blocks.
        """
        try:
            self.module.set_grad_checkpointing(enable)
        except (AssertionError, AttributeError) as error:
            raise UsageError(f"{self.spec.name} has no gradient checkpointing.", "Use a smaller batch.") from error

    def _with_layers(self, image: Tensor) -> tuple[Any, tuple[Tensor, ...]]:
        if not hasattr(self.module, "forward_intermediates"):
            raise UsageError(
                f"{self.spec.name} gives no intermediate layers.", "Choose a head that reads pooled features."
            )
        maps, layers = self.module.forward_intermediates(image, output_fmt="NCHW")
        return maps, tuple(_flatten(layer) for layer in layers)

    def _tokens(self, maps: Any, image: Tensor) -> tuple[Tensor, tuple[int, int]]:
        if isinstance(maps, Tensor) and maps.dim() == 4:
            if _channels_last(self.module, maps):
                maps = maps.permute(0, 3, 1, 2)
            return _flatten(maps), (maps.shape[2], maps.shape[3])
        if isinstance(maps, Tensor) and maps.dim() == 3:
            prefix = getattr(self.module, "num_prefix_tokens", None)
            for skip in (0, 1, 2) if prefix is None else (prefix,):
                grid = grid_of(maps.shape[1] - skip, image.shape[2], image.shape[3])
                if grid is not None and grid != (1, 1):
                    return maps[:, skip:], grid
        # Several branches, or class tokens alone: the last stage's map is the spatial feature there is.
        last = self.module.forward_intermediates(image, indices=1, output_fmt="NCHW", intermediates_only=True)[-1]
        return _flatten(last), (last.shape[2], last.shape[3])


class PatchTimmBackbone(TimmBackbone):
    """A plain Vision Transformer, which is also :class:`zoo.protocols.PatchMaskable`."""

    @property
    def patch_size(self) -> tuple[int, int]:
        height, width = self.module.patch_embed.patch_size
        return int(height), int(width)

    def encode_visible(self, image: Tensor, visible: Tensor) -> Tensor:
        """See :meth:`zoo.protocols.PatchMaskable.encode_visible`; tokens as those of ``Features``."""
        return encode_visible(self.module, image, visible)


def grid_of(count: int, height: int, width: int) -> tuple[int, int] | None:
    """(rows, columns) of ``count`` square patches that cover a ``height`` x ``width`` image; None if none does."""
    rows = round((max(count, 0) * height / width) ** 0.5)
    if rows < 1 or count % rows:
        return None
    columns = count // rows
    # Patch counts are floors of the image's sides, so the aspect ratio holds up to one patch.
    return (rows, columns) if abs(rows * width - columns * height) < max(height, width) + 1 else None


def _channels_last(module: nn.Module, maps: Tensor) -> bool:
    # timm marks its NHWC architectures; the width decides where one forgot to.
    if getattr(module, "output_fmt", None) == "NHWC":
        return True
    return maps.shape[1] != module.num_features and maps.shape[3] == module.num_features


def _flatten(maps: Tensor) -> Tensor:
    """(B, D, H, W) -> (B, H*W, D)."""
    return maps.flatten(2).transpose(1, 2)


def _side(size: Sequence[int]) -> str:
    return "x".join(str(side) for side in size[1:])


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".") + "."
