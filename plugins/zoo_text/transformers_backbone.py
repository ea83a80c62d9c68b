"""Any encoder or causal language model of transformers as a :class:`zoo.protocols.Backbone`."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_MAPPING,
)
from transformers.utils import logging as transformers_logging

from zoo import texts
from zoo.protocols import Batch, Features, LayerGroups
from zoo.weights.fit import keys_text, mismatch
from zoo_registry.errors import UsageError, WeightsError
from zoo_registry.specs import InputSpec, ModelSpec, WeightsSpec

CONFIG_FILE = "config.json"
POOLING_FILE = "1_Pooling/config.json"
"""Where sentence-transformers notes the pooling."""

POOLINGS = ("mean", "cls", "last")
EXAMPLE_LENGTH = 7
EMBEDDINGS, FINAL = -1, 1 << 30  # places of the groups before and behind the layers

# Their position table starts behind the padding id, so that many fewer tokens fit than it has rows.
_OFFSET_POSITIONS = frozenset(
    ("camembert", "data2vec-text", "longformer", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta")
    + ("xlm-roberta-xl", "xmod")
)
# Modules behind the layers; whatever else lies outside them works on the input (or on all layers alike).
_OUTPUT_SIDE = frozenset(("final_layer_norm", "final_norm", "ln_f", "norm", "project_out"))
# These families do more to their logits than the output embedding does.
_SCALED_LOGITS = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier")


def build_transformer(
    spec: ModelSpec,
    input: InputSpec,
    weights: WeightsSpec | None = None,
    state: Mapping[str, Tensor] | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    pooling: str | None = None,
    repo: str = "",
) -> TransformerBackbone:
    """Build a transformers model without its task head.

    Args:
        spec: the record; its name appears in errors.
        input: ``size`` (longest input in tokens,); ``assets`` may hold ``config.json``, which then describes the
            network, and the tokenizer, whose size decides the vocabulary where the network starts from random numbers.
        weights: what ``state`` is, where it is a published checkpoint; its ``head_keys`` may be left over.
        state: a checkpoint under transformers' names, of this network alone or with any task head. None: random.
        config: ``model_type`` and the fields that differ from transformers' defaults, where there is no config.json.
        pooling: ``"mean"`` or ``"cls"`` (encoders), ``"last"`` (causal). None: as the assets say, else mean or last.
        repo: where a model named by its place on the hub came from. No record lists its head keys: they are what
            its checkpoint has beside the network.

    Raises:
        WeightsError: a tensor is missing, left over or of another shape, or config.json is none.
        UsageError: transformers knows no such network, or the input is longer than it can take.
    """
    folder = Path(input.assets) if input.assets else None
    made = _config(spec, folder, config)
    causal = _is_causal(made)
    with _quietly():
        module = _loaded(spec, made, causal, weights, state, listed=not repo)
    family = CausalBackbone if causal else TransformerBackbone
    backbone = family(module, spec, input, _pooling(folder, pooling, causal))
    if input.size and backbone.context is not None and input.size[0] > backbone.context:
        raise UsageError(
            f"{spec.name} takes at most {backbone.context} tokens, not {input.size[0]}.",
            f"Give a --max-length of {backbone.context} or less.",
        )
    return backbone


def _config(spec: ModelSpec, folder: Path | None, fields: Mapping[str, Any] | None) -> Any:
    """transformers' configuration object, from the assets or from the record's fields."""
    values, fitted = _described(folder, fields or {})
    kind = values.pop("model_type", None)
    if kind is None:
        raise UsageError(
            f"{spec.name} has no description of its network.", f"Give a folder with {CONFIG_FILE} by --weights."
        )
    if kind not in CONFIG_MAPPING:
        raise UsageError(
            f"The installed transformers {transformers.__version__} knows no model type {kind!r}; code that comes "
            "with weights is never run.",
            "Upgrade it (pip install --upgrade transformers), or choose another model.",
        )
    try:
        config: Any = CONFIG_MAPPING[kind].from_dict(values)
    except Exception as error:  # configuration classes validate their fields each in their own way
        reason = str(error).strip().splitlines()[0][:160].rstrip(".")
        raise WeightsError(
            f"transformers cannot make a {kind} of the configuration of {spec.name}: {reason}.",
            f"Repair its {CONFIG_FILE}.",
        ) from error
    if getattr(config, "quantization_config", None) is not None:
        raise UsageError(f"The weights of {spec.name} are quantised.", "Give weights in ordinary precision.")
    if config.is_encoder_decoder or type(config) not in MODEL_MAPPING:
        raise UsageError(
            f"{spec.name} ({kind}) is neither an encoder nor a causal language model.", "Choose another model."
        )
    if fitted and folder is not None:
        _fit_vocabulary(config, folder)
    return config


def _described(folder: Path | None, fields: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """(the fields of the configuration, whether the vocabulary is that of the tokenizer in ``folder``).

    What the record says comes first, since a folder may be there for its tokenizer alone; of the vocabulary only the
    files know.
    """
    if folder is None:
        return dict(fields), False
    saved = _read_config(folder / CONFIG_FILE) if (folder / CONFIG_FILE).is_file() else {}
    if saved and (not fields or saved.get("model_type", fields["model_type"]) == fields["model_type"]):
        return {**saved, **{key: value for key, value in fields.items() if key != "vocab_size"}}, False
    return dict(fields), (folder / texts.TOKENIZER_FILE).is_file()


def _read_config(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file} cannot be read: {error}.", "Copy or fetch the file again.") from error
    if not isinstance(values, dict):
        raise WeightsError(f"{file} describes no network.", "Copy or fetch the file again.")
    return values


def _fit_vocabulary(config: Any, folder: Path) -> None:
    """A tokenizer without a config.json beside it was trained for this network, which takes its size and ids."""
    tokens = texts.open_tokenizer(folder, 1 << 20)
    config.vocab_size = tokens.vocabulary
    special = tokens.special
    config.pad_token_id, config.bos_token_id, config.eos_token_id = special.pad, special.bos, special.eos


def _is_causal(config: Any) -> bool:
    kind = config.model_type
    encoder = kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False)
    return kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not encoder


def _pooling(folder: Path | None, pooling: str | None, causal: bool) -> str:
    """The option, what a sentence-transformers folder says, or the family's own."""
    saved = folder / POOLING_FILE if folder else None
    if pooling is None and saved is not None and saved.is_file():
        modes = _read_config(saved)
        names = {"pooling_mode_cls_token": "cls", "pooling_mode_lasttoken": "last", "pooling_mode_mean_tokens": "mean"}
        pooling = next((name for key, name in names.items() if modes.get(key) is True), None)
    pooling = pooling or ("last" if causal else "mean")
    if pooling not in POOLINGS:
        raise UsageError(f"There is no pooling {pooling!r}.", f"It is one of {', '.join(POOLINGS)}.")
    return pooling


def _loaded(
    spec: ModelSpec,
    config: Any,
    causal: bool,
    weights: WeightsSpec | None,
    state: Mapping[str, Tensor] | None,
    listed: bool,
) -> Any:
    """The network with random numbers, or with ``state``, strictly.

    Args:
        listed: whether the record knows every head key there is.
    """
    kind: Any = (AutoModelForCausalLM if causal else AutoModel)._model_mapping[type(config)]
    poolless = {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(kind).parameters else {}
    if state is None:
        return kind(config, **poolless).train()
    try:
        # transformers' own loader, so that its renamings of older checkpoints apply; its leniency is undone below.
        module, info = kind.from_pretrained(
            None,
            config=config,
            state_dict=dict(state),
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            dtype=torch.float32,
            **poolless,
        )
    except Exception as error:  # conversions meet keys they have never heard of
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160].rstrip(".")
        raise WeightsError(
            f"transformers cannot load these weights into {spec.name}: {reason}. Their first keys are "
            f"{keys_text(tuple(state))}.",
            "Give weights of this model.",
        ) from error
    heads = (weights.head_keys if weights else ()) + (("pooler",) if poolless else ())
    left = _left_over(info["unexpected_keys"], heads, kind)
    if left:
        left = _left_over(
            left, _head_modules(config) if listed or config.architectures else _beside(config, state), kind
        )
    if info["missing_keys"] or info["mismatched_keys"] or left:
        raise mismatch(_as_torch_says(info, left), spec.name, ())
    return module.train()


def _left_over(keys: Sequence[str], heads: Sequence[str], kind: Any) -> list[str]:
    """Keys that belong to none of the ``heads`` (dotted prefixes)."""

    def of_a_head(key: str) -> bool:
        bare = key.removeprefix(f"{kind.base_model_prefix}.")
        return any(name == head or name.startswith(f"{head}.") for head in heads for name in (key, bare))

    return sorted(key for key in keys if not of_a_head(key))


def _head_modules(config: Any) -> tuple[str, ...]:
    """What the architecture that the checkpoint was saved from has beside its base: the task head's modules."""
    names = config.architectures or ()
    kind: Any = getattr(transformers, names[0], None) if names else None
    if not (isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)):
        return ()
    with torch.device("meta"):
        children = [name for name, _ in kind(config).named_children()]
    # A class without its base as a child is that base: nothing in it is a head.
    prefix = kind.base_model_prefix
    return tuple(name for name in children if name != prefix) if prefix in children else ()


def _beside(config: Any, state: Mapping[str, Tensor]) -> tuple[str, ...]:
    """What a checkpoint has beside its base, for configurations that name no architecture (DeBERTa-v3's)."""
    kind: Any = MODEL_MAPPING[type(config)]
    prefix = kind.base_model_prefix
    first = {key.partition(".")[0] for key in state}
    return tuple(sorted(first - {prefix})) if prefix in first else ()


def _as_torch_says(info: Mapping[str, Any], unexpected: Sequence[str]) -> str:
    """transformers' report in the words of torch's load_state_dict, which :func:`zoo.weights.fit.mismatch` reads."""
    lines = []
    for title, keys in (("Missing", sorted(info["missing_keys"])), ("Unexpected", unexpected)):
        if keys:
            lines.append(f"{title} key(s): " + ", ".join(f'"{key}"' for key in keys))
    for key, given, wanted in sorted(info["mismatched_keys"]):
        lines.append(
            f"size mismatch for {key}: copying a param with shape torch.Size({list(given)}), "
            f"the shape is torch.Size({list(wanted)})"
        )
    return "\n".join(lines)


@contextmanager
def _quietly() -> Iterator[None]:
    """No progress bars or load reports: what matters in them becomes an error."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(transformers_logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


class TransformerBackbone(nn.Module):
    """A transformers encoder behind :class:`zoo.protocols.Backbone`; also LanguageModel and DynamicAxes.

    Args:
        module: a base model without pooler.
        spec: its record.
        input: the input contract it was built for.
        pooling: ``"mean"`` over real tokens, ``"cls"`` the first token, ``"last"`` the last real one.

    Attributes:
        dim: D, width of tokens and ``Features.pooled``.
        vocabulary: V, rows of the token embedding table.
        context: longest input in tokens, or None where there is no limit.
        reads: names of the tensors that forward reads.
    """

    reads: tuple[str, ...]

    def __init__(self, module: Any, spec: ModelSpec, input: InputSpec, pooling: str) -> None:
        super().__init__()
        self.module = module
        self.spec = spec
        self.input = input
        self.pooling = pooling
        config = module.config
        self.dim: int = getattr(config, "word_embed_proj_dim", None) or config.hidden_size
        self.vocabulary: int = self.input_embedding().num_embeddings
        self.context = _context(config)
        self.reads = self._inputs()
        self.dynamic_axes: Mapping[str, tuple[str, ...]] = dict.fromkeys(self.reads, ("batch", "sequence"))

    def forward(self, batch: Batch, layouts: Sequence[str] = ("pooled",)) -> Features:
        """``input_ids`` and ``attention_mask`` (and ``token_type_ids`` where the network has them), each (B, N) or, for
        K texts a sample, (B, K, N) -> Features.

        ``tokens`` and ``mask`` always come with ``pooled``; ``"layers"`` fills the output of every layer, ``"lm"`` the
        next-token logits (B, N, V). With (B, K, N) every field has K as its second dimension.

        Raises:
            UsageError: ``"lm"`` of a network that is not causal.
        """
        inputs = {name: batch[name] for name in self.reads}
        sets = inputs["input_ids"].shape[1] if inputs["input_ids"].dim() == 3 else None
        if sets is not None:
            inputs = {name: tensor.flatten(0, 1) for name, tensor in inputs.items()}
        out = self._base(inputs, output_hidden_states="layers" in layouts)
        tokens = out.last_hidden_state
        fields: dict[str, Any] = {
            "pooled": pool(tokens, inputs["attention_mask"], self.pooling),
            "tokens": tokens,
            "mask": inputs["attention_mask"].bool(),
            "layers": tuple(out.hidden_states[1:]) if "layers" in layouts else None,
            "lm": self._next_tokens(tokens) if "lm" in layouts else None,
        }
        if sets is not None:
            fields = {name: _unflatten(value, sets) for name, value in fields.items()}
        return Features(**fields)

    def layer_groups(self) -> LayerGroups:
        """embeddings, layer.0, layer.1, ..., final_norm. Weights that layers share (ALBERT) are one layer."""
        stack = _layers(self.module)
        groups: dict[int, list[tuple[str, nn.Parameter]]] = {}
        for name, parameter in self.module.named_parameters():
            if name.startswith(f"{stack}."):
                place = int(name.removeprefix(f"{stack}.").partition(".")[0])
            else:
                place = FINAL if _OUTPUT_SIDE & set(name.split(".")) else EMBEDDINGS
            groups.setdefault(place, []).append((f"module.{name}", parameter))
        titles = {EMBEDDINGS: "embeddings", FINAL: "final_norm"}
        return [(titles.get(place, f"layer.{place}"), groups[place]) for place in sorted(groups)]

    def input_embedding(self) -> nn.Embedding:
        """(V, E) token embedding table; E may be narrower than ``dim`` (ALBERT, ELECTRA)."""
        return self.module.get_input_embeddings()

    def example_inputs(self, batch_size: int = 2) -> Batch:
        """Zeros as ids and ones as mask, each (batch_size, a few tokens)."""
        length = min(EXAMPLE_LENGTH, self.input.size[0] if self.input.size else EXAMPLE_LENGTH)
        zeros = torch.zeros(batch_size, length, dtype=torch.int64)
        return {name: torch.ones_like(zeros) if name == "attention_mask" else zeros.clone() for name in self.reads}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade compute for memory: activations of layers are recomputed in the backward pass.

        Raises:
            UsageError: the architecture has no such layers.
        """
        if not self.module.supports_gradient_checkpointing:
            raise UsageError(f"{self.spec.name} has no gradient checkpointing.", "Use a smaller batch.")
        if enable:
            self.module.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        else:
            self.module.gradient_checkpointing_disable()

    def _inputs(self) -> tuple[str, ...]:
        types = getattr(self.module.config, "type_vocab_size", 0) or 0
        return ("input_ids", "attention_mask", *(("token_type_ids",) if types > 1 else ()))

    def _base(self, inputs: Batch, output_hidden_states: bool) -> Any:
        return self.module(**inputs, output_hidden_states=output_hidden_states, return_dict=True)

    def _next_tokens(self, tokens: Tensor) -> Tensor:
        raise UsageError(
            f"{self.spec.name} sees tokens on both sides, so it predicts no next one.", "Choose a causal model."
        )


class CausalBackbone(TransformerBackbone):
    """A causal language model of transformers with its output layer; also a CausalModel.

    An output layer that is not tied to the input embedding (Pythia's) takes no part in
    features, so it stays as it is unless :meth:`train_output_layer` is called.
    """

    causal = True

    def __init__(self, module: Any, spec: ModelSpec, input: InputSpec, pooling: str) -> None:
        super().__init__(module, spec, input, pooling)
        self._tied = module.get_output_embeddings().weight is self.input_embedding().weight
        self._output_learns = False
        if not self._tied:
            module.get_output_embeddings().requires_grad_(False)

    def layer_groups(self) -> LayerGroups:
        """As of encoders, then ``output`` where an untied output layer is trained."""
        output = {id(parameter) for parameter in self.module.get_output_embeddings().parameters()}
        if self._tied:
            output = set()
        groups = [(title, [(n, p) for n, p in group if id(p) not in output]) for title, group in super().layer_groups()]
        if not self._output_learns or not output:
            return groups
        named = [(f"module.{n}", p) for n, p in self.module.named_parameters() if id(p) in output]
        return [*groups, ("output", named)]

    def train_output_layer(self) -> None:
        """Let an output layer that is not tied to the input embedding learn too (causal pretraining)."""
        self._output_learns = True
        self.module.get_output_embeddings().requires_grad_(True)

    def _inputs(self) -> tuple[str, ...]:
        # Decoders of the GPT family take token types as extra words, which segments are not.
        return ("input_ids", "attention_mask")

    def _base(self, inputs: Batch, output_hidden_states: bool) -> Any:
        base = self.module.base_model
        return base(**inputs, use_cache=False, output_hidden_states=output_hidden_states, return_dict=True)

    def _next_tokens(self, tokens: Tensor) -> Tensor:
        scaled = [name for name in _SCALED_LOGITS if getattr(self.module.config, name, None) not in (None, 1, 1.0)]
        if scaled:
            raise UsageError(
                f"{self.spec.name} rescales its logits ({', '.join(scaled)}), which zoo does not repeat.",
                "Choose another causal model, or a head on its features.",
            )
        return self.module.get_output_embeddings()(tokens)


def pool(tokens: Tensor, mask: Tensor, how: str) -> Tensor:
    """(B, N, D) tokens of which ``mask`` (B, N) marks the real ones, padded at the end -> (B, D).

    ``"mean"`` is sentence-transformers' mean pooling (Reimers and Gurevych 2019, arXiv:1908.10084).
    """
    if how == "cls":
        return tokens[:, 0]
    if how == "last":
        last = (mask.sum(1) - 1).clamp(min=0)
        return tokens.gather(1, last[:, None, None].expand(-1, 1, tokens.shape[2])).squeeze(1)
    weights = mask.to(tokens.dtype)[:, :, None]
    return (tokens * weights).sum(1) / weights.sum(1).clamp(min=1)


def _context(config: Any) -> int | None:
    limit = getattr(config, "max_position_embeddings", None)
    if not isinstance(limit, int) or limit < 1:
        return None
    return limit - config.pad_token_id - 1 if config.model_type in _OFFSET_POSITIONS else limit


def _layers(module: nn.Module) -> str:
    """Name of the module list that holds most of the parameters and is not inside another: the layers."""
    stacks = {
        name: sum(parameter.numel() for parameter in child.parameters())
        for name, child in module.named_modules()
        if isinstance(child, nn.ModuleList)
    }
    # The first of several of one size is the outermost.
    return max(stacks, key=stacks.__getitem__)


def _unflatten(value: Any, sets: int) -> Any:
    if value is None:
        return None
    if isinstance(value, tuple):
        return tuple(_unflatten(one, sets) for one in value)
    return value.unflatten(0, (-1, sets))
