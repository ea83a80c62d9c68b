"""The records plugins return: frozen dataclasses of plain values, so naming a model never builds one.

Builders are strings ``"package.module:attribute"``, imported late by :func:`zoo_registry.builders.load_builder`.
Names are bare (``resnet50``); the registry prefixes the plugin's namespace (``vision/resnet50``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """What a backbone takes in. Unused fields of other modalities stay ``None`` or empty.

    Attributes:
        modality: ``"image"``, ``"text"``, ``"audio"`` or ``"image-text"``.
        size: image (channels, height, width); text (longest input in tokens,); empty for other modalities.
        rate: audio: samples per second that the network hears; 0 for other modalities.
        seconds: audio: the longest stretch it is given at once: random crops of it in training, windows of it in
            evaluation; 0: whole clips.
        mean, std: per-channel normalisation of values scaled to 0..1.
        interpolation: ``"bicubic"``, ``"bilinear"`` or ``"nearest"``: how an image is resized.
        crop_pct: share of the resized image's short side that the centre crop keeps.
        crop_mode: ``"center"`` (short side, then crop), ``"squash"`` or ``"border"``.
        fixed_size: True where the network accepts only ``size``.
        assets: folder of the files that the contract needs besides numbers (``tokenizer.json``); empty in a plugin's
            records, filled in when the weights are found.
        parts: of a pair, such as ``"image-text"`` or ``"audio-text"``, the contracts of its two sides, in the order
            in which the modality names them; every other field but ``modality`` and ``assets`` is then unused.
    """

    modality: str
    size: tuple[int, ...] = ()
    rate: int = 0
    seconds: float = 0.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    interpolation: str = "bicubic"
    crop_pct: float = 1.0
    crop_mode: str = "center"
    fixed_size: bool = False
    assets: str = ""
    parts: tuple[InputSpec, ...] = ()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> InputSpec:
        """The contract that ``dataclasses.asdict`` made JSON values of.

        Raises:
            TypeError: a field that is none of these.
        """
        made: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**{**made, "parts": tuple(cls.from_dict(part) for part in made.get("parts", ()))})


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """An architecture. Its pretrained checkpoints are :class:`WeightsSpec` records.

    Attributes:
        name: bare name, unique in the plugin.
        builder: ``"module:function"``, called as ``function(spec, input, weights, state, **options)`` (see
            :func:`zoo.weights.load_backbone`), returning a :class:`zoo.protocols.Backbone`.
        pipeline: ``"module:function"``, called as ``function(input_spec)``, returning a
            :class:`zoo.protocols.Pipeline` that turns this model's raw inputs into tensors. Of a model of pairs:
            ``"zoo.pairs:PairPipeline"``, made of the pipelines of its ``towers``.
        input: the default input contract; a :class:`WeightsSpec` may override it.
        requires: import names that must be installed before ``builder`` is imported.
        extra: the ``zookit`` extra (or pip package) that installs ``requires``.
        dim: embedding width of ``Features.pooled``.
        params: number of parameters of the backbone with its original classifier.
        layouts: which of ``"pooled"``, ``"tokens"``, ``"grid"``, ``"layers"`` the features carry.
        exports: export formats known to work (``"onnx"``).
        default_weights: tag used when the user names none; ``None``: only random weights exist.
        spare_weights: tag of weights that come in a Python package, taken (and said) where the user names none and the
            default ones are out of reach; ``None``: that is an error.
        aliases: other bare names that mean this model, each mapped to a tag or ``None`` for the default.
        options: plain keyword values for ``builder``.
        context: longest input in tokens that the network can take, where it has a limit.
        vocabulary: number of tokens it knows.
        prefix: names that begin so (``"hf:"``, ``"spectrogram/"``) mean models that are too many to list; this record
            stands for all of them.
        derive: ``"module:function"``, called as ``function(spec, rest, registry)`` with this record and what follows
            the prefix; returns the (:class:`ModelSpec`, :class:`WeightsSpec` or ``None``) of one of them, whose name
            begins with the prefix and leads to the same model again. It imports no torch, and raises
            :class:`~zoo_registry.errors.UnknownName` for what names none. Empty without ``prefix``.
        fit_input: ``"module:function"``, called as ``function(input, inputs)`` with the training inputs (raw items, to
            be gone through again) where the model starts from random numbers; returns the :class:`InputSpec` to build
            it with (a tokenizer trained on the user's text). Of a model of pairs ``function(input, inputs, spec)``.
            Empty where the input contract is fixed.
        fit_always: True where ``fit_input`` is called for pretrained weights too (how long the user's clips are).
        strategy: how it is finetuned where the user does not say (``"full"``: its weights were made for other inputs).
        towers: of a model of pairs: modality -> name of the model that is that side alone, with weights of the same
            tags. ``zoo finetune`` and ``zoo embed`` take the side that the data are for.
        tower_state: ``"module:function"``, called as ``function(state, modality)`` with the state dict of this model's
            module; returns that of one tower's module. Empty without ``towers``.
    """

    name: str
    builder: str
    pipeline: str
    input: InputSpec
    requires: tuple[str, ...] = ()
    extra: str = ""
    family: str = ""
    dim: int | None = None
    params: int | None = None
    layouts: tuple[str, ...] = ("pooled",)
    exports: tuple[str, ...] = ()
    default_weights: str | None = None
    spare_weights: str | None = None
    aliases: Mapping[str, str | None] = field(default_factory=dict)
    license: str = ""
    summary: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    context: int | None = None
    vocabulary: int | None = None
    prefix: str = ""
    derive: str = ""
    fit_input: str = ""
    fit_always: bool = False
    strategy: str = ""
    towers: Mapping[str, str] = field(default_factory=dict)
    tower_state: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsSpec:
    """A pretrained checkpoint of a model of the same plugin, or of another plugin's.

    Attributes:
        model: bare name of the :class:`ModelSpec`; of another plugin's its full name (``"vision/resnet50"``). Weights
            from elsewhere only add a tag that a user can name: they are never a default, and a tag that the model has
            keeps its meaning.
        tag: name of the checkpoint, unique for the model (``a1_in1k``).
        sources: where to look, in order: ``"package:import_name/path/in/package"``, ``"hub:org/repo"`` (optionally
            ``"hub:org/repo/file"``, then ``@revision``) or ``"url:https://..."``.
        sha256: of the file, in full or its first 8 digits or more; required for ``url:``, checked wherever given.
        trust_first: True where a ``url:`` has no published sha256: that of the first fetch is said, kept beside the
            file and held against it from then on.
        head_keys: state-dict prefixes of the original classifier; dropped for the backbone, everything else is strict.
        remap: ``"module:function"`` turning the file's state dict into the model's, or empty.
        input: input contract of these weights where it differs from the model's.
        num_classes: width of the original classifier (0: none).
        accuracy: published top-1 accuracy in percent on ``dataset``'s benchmark, where the source ships it.
        companions: files that lie beside the weights and are needed with them (``("config.json", "tokenizer.json")``);
            fetched where the weights are. A name that ends in ``?`` may be missing.
    """

    model: str
    tag: str
    sources: tuple[str, ...]
    sha256: str | None = None
    head_keys: tuple[str, ...] = ()
    remap: str = ""
    input: InputSpec | None = None
    num_classes: int = 0
    license: str = ""
    dataset: str = ""
    accuracy: float | None = None
    summary: str = ""
    companions: tuple[str, ...] = ()
    trust_first: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSpec:
    """A finetuning head: ``builder(dim=..., labels=..., **options)`` returns a :class:`zoo.protocols.Head`.

    Attributes:
        task: the data task it serves: ``"classification"``, ``"multi-label"``, ``"regression"``, ...
        modalities: modalities it fits; ``("any",)`` for heads on pooled features.
        uses: fields of ``Features`` it reads, so that only those are cached.
        view: ``"module:function"``, called as ``function(pipeline)``; returns the :class:`zoo.protocols.Pipeline` that
            makes this head's samples from the modality's (windows of long texts, pairs). Empty: the modality's own.
        start: ``"module:function"``, called as ``function(head, loaded, registry)`` before training begins, with the
            :class:`zoo.weights.LoadedBackbone`; gives the head a better beginning than random numbers. Of a resumed
            run it settles shapes, and the checkpoint follows. Or empty.
    """

    name: str
    builder: str
    task: str
    modalities: tuple[str, ...] = ("any",)
    uses: tuple[str, ...] = ("pooled",)
    requires: tuple[str, ...] = ()
    extra: str = ""
    summary: str = ""
    view: str = ""
    start: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveSpec:
    """A pretraining objective: ``builder(backbone, pipeline, config)`` returns a :class:`zoo.protocols.Task`.

    Attributes:
        needs: names of the capability protocols of :mod:`zoo.protocols` that the backbone must offer.
        view: ``"module:function"``, called as ``function(pipeline, config)``; returns the pipeline whose ``augment``
            makes the objective's inputs and targets (masks, views) from draws, per sample.
        packed: True where samples are blocks of one long stream of tokens rather than single texts.
        labels: ``"ignored"``; ``"watched"``: class labels are read where the data has them, to tell how well training
            goes but not to train; ``"needed"``: they are trained on. Of the last two the builder is also given
            ``classes``, the names in id order, empty where there are none.
        recipe: fields of :class:`zoo.config.PretrainConfig` with the values this objective works best with, where the
            user gives none (``{"lr": 2e-4, "beta1": 0.0}``).
        options: settings of its own with their defaults, in ``config.options``.
    """

    name: str
    builder: str
    modalities: tuple[str, ...]
    needs: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    extra: str = ""
    summary: str = ""
    view: str = ""
    packed: bool = False
    labels: str = "ignored"
    recipe: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSpec:
    """A data set known by name, looked for in ``$ZOO_DATA_PATH``, then the cache, then ``sources``.

    Attributes:
        name: bare name; also the folder name looked for in ``$ZOO_DATA_PATH``.
        sources: ``"hf:org/name"`` entries, tried in order.
        columns: column overrides for the source, e.g. ``{"input": "image", "label": "labels"}``.
        sample: ``"module:function"`` writing a small built-in offline sample into a folder
            (``function(folder: Path) -> None``), or empty where none exists.
        generate: ``"module:function"``, called as ``function(**options)``; returns the :class:`zoo.data.rows.Raw` of a
            data set that is made of numbers alone (:mod:`zoo.data.generated`), or empty.
        options: whole numbers with their defaults that ``generate`` takes; the user sets them after the name:
            ``fractals:classes=50,images=20``.
        objective: what is pretrained on it where the user does not say, or empty.
        classes: number of classes, where known.
    """

    name: str
    modality: str
    task: str
    sources: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    sample: str = ""
    generate: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    objective: str = ""
    classes: int | None = None
    license: str = ""
    homepage: str = ""
    summary: str = ""


Spec = ModelSpec | WeightsSpec | HeadSpec | ObjectiveSpec | DatasetSpec
