"""The seams on the torch side. B batch, N tokens or frames, D embedding width, C classes.

Data flows one way: ``Backbone + Head (or Objective) -> Task``; ``Task + batches -> engine -> run folder``.
Nothing here knows a modality; a :class:`Pipeline` is the only place that does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from zoo.data.dataset import Table
from zoo_registry.specs import InputSpec, ModelSpec

Batch = dict[str, Tensor]
"""Tensors that share their first dimension. Always holds ``index`` (B,), the row in the split, and the pipeline's
``input_name``; where items differ in length also ``length`` (B,), the real length of each. Supervised batches hold
``label``: (B,) int64 class ids, (B, C) float multi-label targets or mixed class probabilities, (B,) float values, or
(B, W) int64 ids of a sequence's parts, :data:`IGNORE` where there is none."""

IGNORE = -100
"""The label of what has no label: padding, special tokens, later pieces of a word."""

LayerGroups = list[tuple[str, list[tuple[str, nn.Parameter]]]]
"""Ordered from the input to the output: (group name, [(parameter name, parameter)]). Every trainable parameter of the
module stands in exactly one group, under its ``named_parameters()`` name."""


@dataclass(frozen=True)
class Features:
    """What a backbone makes of a batch.

    Attributes:
        pooled: (B, D), always present.
        tokens: (B, N, D) or None.
        mask: (B, N) bool, True where a token is real, or None when all are.
        grid: (H, W) or (T,) so that N = prod(grid), or None.
        layers: intermediate token maps [(B, N_i, D_i)] from input to output, or None unless asked for.
        lm: (B, N, V) next-token logits of a causal language model, or None unless asked for.
    """

    pooled: Tensor
    tokens: Tensor | None = None
    mask: Tensor | None = None
    grid: tuple[int, ...] | None = None
    layers: tuple[Tensor, ...] | None = None
    lm: Tensor | None = None


@runtime_checkable
class Backbone(Protocol):
    """An ``nn.Module`` that turns a batch into features. ``.module`` is the original library's module, so what was
    trained here also loads there. ``forward(batch, layouts=("pooled",))`` fills the asked-for fields of Features."""

    spec: ModelSpec
    input: InputSpec
    dim: int
    module: nn.Module

    def __call__(self, batch: Batch, layouts: Sequence[str] = ("pooled",)) -> Features: ...

    def layer_groups(self) -> LayerGroups: ...

    def example_inputs(self, batch_size: int = 2) -> Batch:
        """A batch of zeros in the shape the pipeline's ``prepare`` gives, holding exactly the tensors forward reads."""
        ...


@runtime_checkable
class DynamicAxes(Protocol):
    """A backbone whose inputs have more free dimensions than the batch."""

    dynamic_axes: Mapping[str, tuple[str, ...]]
    """Names of the leading dimensions of each input: ``{"input_ids": ("batch", "sequence")}``."""


@runtime_checkable
class LanguageModel(Protocol):
    """A backbone over tokens of a vocabulary."""

    vocabulary: int

    def input_embedding(self) -> nn.Embedding:
        """(V, E) token embedding table, for output layers tied to it."""
        ...


@runtime_checkable
class CausalModel(LanguageModel, Protocol):
    """A language model whose tokens see only what is before them: it fills ``Features.lm``."""

    causal: bool


@runtime_checkable
class Frames(Protocol):
    """A backbone of sound whose tokens are frames, evenly spaced in time."""

    frame_seconds: float
    """From the start of one frame to that of the next."""

    def frames(self, length: Tensor) -> Tensor:
        """(B,) int64 samples -> (B,) int64 real frames, at least 1: the trues in each row of ``Features.mask``."""
        ...


@runtime_checkable
class Maskable(Protocol):
    """A backbone in two parts, between which an objective can hide frames: local features, then a context network. Its
    forward is ``contextualise(*embed(batch))``."""

    def embed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The input of the context network (B, N, D) and its mask (B, N) bool, True where a frame is real."""
        ...

    def contextualise(self, features: Tensor, mask: Tensor, layers: bool = False) -> Features:
        """(B, N, D) and (B, N) bool -> Features; ``layers`` asks for the output of every layer."""
        ...


@runtime_checkable
class PatchMaskable(Protocol):
    """A backbone of images that can be given some patches alone: those left out cost nothing and are not known to it.

    Attributes:
        patch_size: (height, width) in pixels.
    """

    patch_size: tuple[int, int]

    def encode_visible(self, image: Tensor, visible: Tensor) -> Tensor:
        """image (B, C, H, W), and visible (B, K) int64 numbers of its patches, row by row -> tokens (B, prefix + K, D)
        in that order, after those that stand for no patch (class token, registers)."""
        ...


@runtime_checkable
class Autoregressive(Protocol):
    """A backbone that guesses a recording sample by sample, from what is before each."""

    def forward_codes(self, codes: Tensor) -> Tensor:
        """codes (B, T) int64 of mu-law companding, 0 to 255 -> logits (B, T, 256): those at ``t`` are of the code at
        ``t + 1``, and follow from ``codes[:, : t + 1]`` alone."""
        ...


@runtime_checkable
class DualEncoder(Protocol):
    """A backbone of pairs, whose two towers give unit vectors in one space: similar where the two belong together. Its
    ``forward`` takes a batch of pairs (:class:`Paired`) and gives ``Features.pooled`` as (B, 2, D), one row a side.

    Attributes:
        modalities: of the two sides, in order: ``("image", "text")``.
        towers: modality -> the :class:`Backbone` of that side, which shares its parameters with this one; ``pooled`` of
            a tower is its vector before it is scaled to length 1.
        logit_scale: () natural logarithm of the factor on cosines.
        logit_bias: () added to the logits (SigLIP), or None.
    """

    modalities: tuple[str, str]
    towers: Mapping[str, Backbone]
    logit_scale: nn.Parameter
    logit_bias: nn.Parameter | None

    def encode(self, modality: str, batch: Batch) -> Tensor:
        """What a tower's pipeline prepares -> (B, D) unit vectors."""
        ...


class Metrics(Protocol):
    """Streaming metrics of one evaluation. ``update`` takes the head's logits and the batch; ``compute`` returns plain
    floats, synchronised over processes where torch.distributed runs."""

    def update(self, logits: Tensor, batch: Batch) -> None: ...

    def compute(self) -> dict[str, float]: ...

    def reset(self) -> None: ...

    def to(self, device: torch.device) -> Metrics: ...


class Head(Protocol):
    """An ``nn.Module`` on top of features.

    Attributes:
        task: ``"classification"``, ``"multi-label"``, ``"regression"``, ...
        uses: the fields of Features it reads.
        monitor: (metric name, ``"max"`` or ``"min"``): what "best" means.
        labels: class names in id order, empty for regression.
    """

    task: str
    uses: tuple[str, ...]
    monitor: tuple[str, str]
    labels: tuple[str, ...]

    def __call__(self, features: Features) -> Tensor: ...

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Sum of the loss over the batch's targets, and their count (both scalars on the device)."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any: ...

    def decode(self, logits: Tensor, batch: Batch | None = None) -> dict[str, Tensor]:
        """Predictions in user terms: classification ``{"scores": (B, C) probabilities, "label": (B,)}``, multi-label
        ``{"scores": (B, C), "label": (B, C) bool}``, regression ``{"value": (B,)}``."""
        ...

    def metrics(self) -> Metrics: ...


@runtime_checkable
class Keeps(Protocol):
    """A head whose logits are too many to keep for a whole split."""

    def keep(self, logits: Tensor, batch: Batch) -> Tensor:
        """(B, ...): what evaluation keeps of a batch's logits, and what :meth:`Head.metrics` is updated with."""
        ...


@runtime_checkable
class Timed(Protocol):
    """A head whose labels stand at points in time, on a backbone that is :class:`Frames`."""

    frame_seconds: float
    """The backbone's; set when the two are put together."""


class Task(Protocol):
    """The one ``nn.Module`` the engine trains.

    Attributes:
        phases: names of the optimisation phases of a step, each with an optimizer of its own (a GAN has two).
        batch_coupled: True if the loss of a sample depends on the others in the batch, so that micro-batching would
            change it; the engine then refuses to split batches.
        monitor: (metric name, ``"max"`` or ``"min"``).
    """

    phases: tuple[str, ...]
    batch_coupled: bool
    monitor: tuple[str, str]

    def __call__(self, batch: Batch, phase: str = "main") -> tuple[Tensor, Tensor, dict[str, Tensor], Tensor | None]:
        """(loss_sum, count, logs, outputs): ``outputs`` are what :meth:`metrics` is updated with."""
        ...

    def layer_groups(self, phase: str = "main") -> LayerGroups: ...

    def metrics(self) -> Metrics: ...

    def after_step(self, step: int, total: int) -> None:
        """Called after each optimizer step (EMA teachers, temperature schedules)."""
        ...

    def export_module(self) -> nn.Module:
        """A module whose ``forward(*tensors)`` returns the logits, free of python-side state."""
        ...

    def example_inputs(self, batch_size: int = 2) -> dict[str, Tensor]:
        """Named inputs for :meth:`export_module`, in call order, first dimension = batch."""
        ...


@runtime_checkable
class Coupled(Protocol):
    """A ``batch_coupled`` task whose loss knows no more of a sample than a vector. So it is exact over micro-batches
    and processes: vectors are made piece by piece, coupled over the whole batch of all processes, and made once more
    with the gradient that the loss has at each (Gao et al., "Scaling deep contrastive learning batch size under memory
    limited setup", RepL4NLP 2021). ``task(batch, "vectors")`` gives them as its ``outputs``, (B, ...) float."""

    def couple(self, vectors: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """vectors (N, ...) of the whole batch, in a fixed order -> (loss_sum, count, logs)."""
        ...


@runtime_checkable
class Shows(Protocol):
    """A task with something to look at: samples it makes, inputs it rebuilds."""

    def show(self, batch: Batch) -> Mapping[str, Tensor]:
        """Pictures by name, each (N, C, H, W) uint8 and laid out as a grid, of one batch of the validation split in
        evaluation form. Called without gradients after each evaluation; draws on nothing but the batch and buffers."""
        ...


@runtime_checkable
class FitsData(Protocol):
    """A pretraining task that looks at the training data before it starts (the clusters that HuBERT guesses)."""

    def fit_data(self, batches: Iterable[Batch]) -> None:
        """Called once before training, with the training split's batches in evaluation form and a fixed order, on the
        device that trains. What comes of it is a function of these batches and lives in buffers, so that checkpoints
        hold it and a resumed run goes on with the same.

        Raises:
            zoo_registry.errors.DataError: there is too little data to find anything in.
        """
        ...


class Draws(Protocol):
    """Uniform random numbers that depend only on (seed, epoch, sample): the same whatever the batch, rank or resume."""

    def uniform(self, stream: str, size: int) -> Tensor:
        """(B, size) float32 in [0, 1) on the batch's device, one row a sample; ``stream`` names the use."""
        ...


RAGGED = -1
"""Stands for a length of its own for each item in ``Pipeline.shape``."""


class Pipeline(Protocol):
    """How one modality's raw items become a backbone's tensors: decoded once on the CPU, then transformed per batch on
    the device. Built from an :class:`InputSpec` alone, so that caches can be read without building a model.

    Attributes:
        modality: as in InputSpec.
        input_name: key of the decoded array in a Batch (``"image"``).
        key: text naming everything that decides the decoded form; part of the cache key.
        shape, dtype: of one decoded item. A first dimension of :data:`RAGGED` differs from item to item; a batch then
            holds items padded at their end with zeros to the longest, and ``length``.
    """

    modality: str
    input_name: str
    key: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def decode(self, item: Any) -> np.ndarray:
        """One raw item (a path, or the file's bytes) as an array of ``shape`` and ``dtype``.

        Raises:
            zoo_registry.errors.DataError: the item is missing, empty, truncated or no item of this modality.
        """
        ...

    def augment(self, batch: Batch, draws: Draws) -> Batch:
        """Training transform, per sample, on the batch's device; what :meth:`prepare` returns but varied."""
        ...

    def prepare(self, batch: Batch) -> Batch:
        """Evaluation transform: deterministic, the one that serving repeats."""
        ...

    def describe(self) -> dict[str, Any]:
        """The input contract as JSON values: enough to repeat decode + prepare without torch."""
        ...


@runtime_checkable
class Expands(Protocol):
    """A pipeline whose samples are not the data set's rows one for one: windows of long texts, the texts of a pair."""

    def rows(self, table: Table) -> Table:
        """The samples of a table (with or without ``label``). Column ``owner`` holds the row each comes from; ``label``
        what training compares with, ``truth`` what reports compare with where that is something else."""
        ...


@runtime_checkable
class Paired(Protocol):
    """A pipeline of pairs. An item is a tuple of one raw item for each of ``parts``, whose pipelines decode, vary and
    prepare them. A batch holds each side's tensors under ``MODALITY.NAME`` (``image.image``, ``text.tokens``,
    ``text.length``), and ``index`` and ``label`` once."""

    parts: tuple[Pipeline, Pipeline]


@runtime_checkable
class DecodesBatches(Protocol):
    """A pipeline that decodes many items faster than one after another."""

    def decode_batch(self, items: Sequence[Any]) -> list[np.ndarray | Exception]:
        """Each item's array, or the DataError that :meth:`Pipeline.decode` would raise, in its place."""
        ...


@runtime_checkable
class Cuts(Protocol):
    """A pipeline that keeps no more than the first ``max_length`` tokens of an item."""

    max_length: int

    def count_cut(self, items: Iterable[Any]) -> int:
        """How many of the items lose tokens; only those of ``max_length`` can be among them."""
        ...


@runtime_checkable
class Windowed(Protocol):
    """A pipeline of sound, of whose recordings a network hears no more than a window at once: a random one in training,
    all of them elsewhere (:mod:`zoo.data.clips`). Either ``window`` or ``longest`` is 0, or both.

    Attributes:
        rate: samples a second.
        window: samples; 0: whole recordings.
        longest: samples of the longest recording that is trained on; 0: any.
    """

    rate: int
    window: int
    longest: int


@runtime_checkable
class Matches(Protocol):
    """A pipeline that can tell whether it belongs to a backbone."""

    def check_backbone(self, backbone: Backbone) -> None:
        """Raises WeightsError where it does not: a tokenizer with more tokens than the network knows."""
        ...


@runtime_checkable
class Streams(Protocol):
    """A pipeline of tokens, of whose texts one long stream can be made."""

    def pieces(self, texts: Sequence[str], packed: bool) -> list[list[np.ndarray]]:
        """Token ids of each text, int32 (n,). ``packed``: the whole text and the token that ends it, in one piece. Else
        as many inputs, with their special tokens, as the text fills."""
        ...


@runtime_checkable
class Portable(Protocol):
    """A pipeline or backbone with files of its own, such as a tokenizer."""

    def save_assets(self, folder: Path) -> None:
        """Write them into ``folder``, which can then be ``InputSpec.assets``."""
        ...


class TrainBatches(Protocol):
    """What the engine's loop consumes. ``epoch(step) = step // steps_per_epoch``."""

    samples: int
    steps_per_epoch: int

    def stream(self, start: int, stop: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """This rank's share of the global batch of each step in ``range(start, stop)``, as CPU tensors. The order is a
        function of (seed, epoch) alone, so a stream started at ``k`` continues one that was cut off there."""
        ...

    def transform(self, batch: Batch, epoch: int) -> Batch:
        """The training transform, on the device the batch is on."""
        ...


class EvalBatches(Protocol):
    """Every row of a split once over all ranks; ``index`` says which. Ranks may differ in length by one."""

    samples: int

    def stream(self, rank: int = 0, world: int = 1) -> Iterator[Batch]: ...

    def transform(self, batch: Batch) -> Batch: ...


@dataclass(frozen=True)
class ParamGroup:
    """Parameters that share a learning-rate scale and a weight decay.

    Attributes:
        name: shown in the table of groups.
        params: ((name, parameter), ...).
        lr_scale: factor on the scheduled learning rate.
        weight_decay: decoupled weight decay (already 0 for 1-D parameters).
    """

    name: str
    params: tuple[tuple[str, nn.Parameter], ...]
    lr_scale: float
    weight_decay: float
